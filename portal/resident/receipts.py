"""``/me/receipts``: one transfer of one's own, with the proof that it is in the city's books."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, render_template
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.errors import NotFound, msg
from app.kernel.money import major
from app.web.auth import Role, allow, principal
from app.web.db import settings, transaction
from app.web.i18n import DEFAULT, language, translate
from card import health, ledger, partners, purchases, transit
from card.ledger import Account, AccountKind, Booking
from portal.kit import books, qr
from portal.kit import cards as shown
from services import documents
from services.documents import Both, Sheet

blueprint = Blueprint("receipts", __name__, url_prefix="/me/receipts")

OWN: Final = {
    AccountKind.PURSE: msg("Your card purse"),
    AccountKind.EARMARKED: msg("Your money for a purpose"),
    AccountKind.MEDICAL: msg("Your medical account"),
    AccountKind.FAMILY: msg("Your family’s medical account"),
    AccountKind.RECEIVABLE: msg("What you owe"),
}
OUTSIDE: Final = {
    AccountKind.STRIPE_CLEARING: msg("Your bank card"),
    AccountKind.FEES: msg("The city, for its services"),
    AccountKind.DUE_TO: msg("The city of %(name)s"),
    AccountKind.DUE_FROM: msg("The city of %(name)s"),
}
FILE: Final = "receipt.json"  # what it is called inside the PDF


class UnknownReceipt(NotFound):
    """There is no such transfer, or it is not this resident's."""

    code = "unknown-receipt"
    sentence = msg("This receipt does not exist.")


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A receipt that was verified before it is shown: the document, and what it says."""

    document: dict[str, object]
    size: int
    signed_at: datetime
    suite: str
    cosigners: list[tuple[str, datetime]]

    @property
    def codes(self) -> list[str]:
        """The texts of its QRs: one, or several where the tree has outgrown one."""
        return ledger.receipt_codes(self.document)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One transfer of one's own, both sides in words."""

    booking: Booking
    what: str
    out_of: str
    into: str


def _mine(account: Account, holder_id: UUID) -> bool:
    return account.kind in OWN and _owner(account) == str(holder_id)


def _owner(account: Account) -> str:
    return account.key.partition(":")[2].split("/")[0]


def _city(session: Session, code: str) -> str:
    named = {city.code: city.name_zh if language() == DEFAULT else city.name_en for city in partners.cities(session)}
    return named.get(code, code)


def _named(session: Session, account: Account, holder_id: UUID) -> str:
    """Whose account it is, in words for a resident: nobody else's name or number."""
    owner = _owner(account)
    if account.kind in OWN:
        return translate(OWN[account.kind] if owner == str(holder_id) else msg("Another resident"))
    if account.kind in OUTSIDE:
        return translate(OUTSIDE[account.kind], name=_city(session, owner))
    names = _names(session, account.kind, owner)
    if names is not None:
        return names.get(language()) or names.get("en") or owner
    return books.kind_name(account.kind)


def _names(session: Session, kind: AccountKind, owner: str) -> Mapping[str, str] | None:
    """What an operator, a merchant or a hospital is called, by language; nothing where the kind itself says it."""
    if kind is AccountKind.OPERATOR:
        found = {one.id: one.names for one in transit.operators(session)}.get(owner)
        return {"en": found.en, DEFAULT: found.zh} if found else {}
    if kind is AccountKind.MERCHANT:
        return purchases.merchants(session).get(owner, {})
    if kind is AccountKind.HOSPITAL:
        try:
            return health.hospital(session, owner).name
        except health.NoSuchHospital:
            return {}
    return None


def _find(session: Session, transfer_id: UUID) -> Found:
    """One's own transfer. Raises :class:`UnknownReceipt` for any other."""
    holder_id = principal().person_id
    try:
        booking = ledger.booking(session, transfer_id)
    except ledger.UnknownTransfer as error:
        raise UnknownReceipt(str(transfer_id)) from error
    debit, credit = (ledger.account(session, id_) for id_ in (booking.transfer.debit, booking.transfer.credit))
    if not (_mine(debit, holder_id) or _mine(credit, holder_id)):
        raise UnknownReceipt(str(transfer_id))
    slug = booking.transfer.code.slug
    return Found(
        booking=booking,
        what=translate(shown.MOVEMENTS[slug]) if slug in shown.MOVEMENTS else books.code_name(booking.transfer.code),
        out_of=_named(session, debit, holder_id),
        into=_named(session, credit, holder_id),
    )


def _proof(session: Session, transfer_id: UUID) -> Proof:
    """The transfer's proof, verified as a stranger would. Raises ``NotSealed`` while it is being made."""
    document = ledger.receipt(session, transfer_id)
    said = ledger.verify_receipt(document, key=ledger.checkpoint_verifier(settings()).text)
    return Proof(
        document=document,
        size=int(said["checkpoint"]),
        signed_at=datetime.fromisoformat(said["signed"]),
        suite=said["suite"],
        cosigners=[(_city(session, code), at) for code, at in books.cosigners(said)],
    )


@blueprint.get("/<uuid:transfer_id>")
@allow(Role.RESIDENT)
def show(transfer_id: UUID) -> str:
    """Both sides, the amount, the time; and the proof, or that it is being made."""
    with transaction() as session:
        found = _find(session, transfer_id)
        try:
            proof = _proof(session, transfer_id)
        except ledger.NotSealed:
            proof = None
    return render_template(
        "resident/receipts/show.html",
        found=found,
        transfer=found.booking.transfer,
        proof=proof,
        drawings=[qr.draw(code, error="l") for code in proof.codes] if proof else [],
        key=ledger.checkpoint_verifier(settings()).text,
    )


def _file(content: bytes, transfer_id: UUID, media_type: str, ending: str) -> Response:
    answer = Response(content, content_type=media_type)
    answer.headers["Content-Disposition"] = f'attachment; filename="receipt-{transfer_id}.{ending}"'
    return answer


@blueprint.get("/<uuid:transfer_id>/receipt.json")
@allow(Role.RESIDENT)
def as_json(transfer_id: UUID) -> Response:
    """The proof as a file for ``python -m card.ledger.verify``."""
    with transaction() as session:
        _find(session, transfer_id)
        document = _proof(session, transfer_id).document
    return _file(json.dumps(document, indent=1).encode(), transfer_id, "application/json", "json")


@blueprint.get("/<uuid:transfer_id>/receipt.png")
@allow(Role.RESIDENT)
def as_picture(transfer_id: UUID) -> Response:
    """The proof as a picture of its QR, or of its QRs one above another."""
    with transaction() as session:
        _find(session, transfer_id)
        codes = _proof(session, transfer_id).codes
    return _file(qr.picture(*codes, error="l"), transfer_id, "image/png", "png")


@blueprint.get("/<uuid:transfer_id>/receipt.pdf")
@allow(Role.RESIDENT)
def as_pdf(transfer_id: UUID) -> Response:
    """The receipt on paper: its QR printed, its proof attached."""
    with transaction() as session:
        found = _find(session, transfer_id)
        proof = _proof(session, transfer_id)
        content = documents.set_sheet(session, _sheet(found, proof), at=clock.now())
    return _file(content, transfer_id, "application/pdf", "pdf")


def _sheet(found: Found, proof: Proof) -> Sheet:
    transfer = found.booking.transfer
    facts = [
        (Both(en="What for", zh="事由"), found.what),
        (Both(en="Amount", zh="金额"), f"¥{major(transfer.amount_minor):,}"),
        (Both(en="Out of", zh="转出"), found.out_of),
        (Both(en="Into", zh="转入"), found.into),
        (Both(en="It happened", zh="发生时间"), f"{clock.local(transfer.event_at):%Y-%m-%d %H:%M:%S}"),
        (Both(en="Booked", zh="入账时间"), f"{clock.local(found.booking.posted_at):%Y-%m-%d %H:%M:%S}"),
        (Both(en="Checkpoint", zh="检查点"), f"{proof.size} · {clock.local(proof.signed_at):%Y-%m-%d %H:%M:%S}"),
        (Both(en="Cosigned by", zh="联署"), ", ".join(name for name, _ in proof.cosigners) or "–"),
    ]
    return Sheet(
        number=str(transfer.id),
        title=Both(en="Receipt with proof", zh="转账回执与证明"),
        facts=tuple(facts),
        note=Both(
            en="The code and the file attached to this PDF prove with the city’s public key alone that this transfer is in its "
            f"books: python -m card.ledger.verify this.pdf --key {ledger.checkpoint_verifier(settings()).text}",
            zh="凭本市公钥即可用上方二维码或本 PDF 所附文件核验此笔转账已入账，且未被改动。",
        ),
        codes=tuple(proof.codes),
        attached=(FILE, json.dumps(proof.document, indent=1)),
    )
