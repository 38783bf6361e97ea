"""Writing cards. Every action joins the caller's transaction; what others must know goes to the outbox."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit, clock, outbox
from app.kernel.city import city_of
from app.kernel.db import Json
from app.kernel.ids import new_id
from app.kernel.sealing import sealer_of
from app.kernel.signing import Purpose
from card import ledger
from card.cards import queries
from card.cards.models import (
    STATUS_INDEX,
    CardDevice,
    CardRow,
    DenyBaseRow,
    DenyChange,
    DenyDeltaRow,
    EntitlementRow,
)
from card.cards.queries import card_of, row_for_update
from card.cards.rules import (
    CHIP_LIFE,
    CREDENTIAL_LIFE,
    CREDENTIAL_RENEW,
    KIOSK_LIFE,
    PRINTED_LIFE,
    AlreadyHasCard,
    BlockReason,
    Card,
    CardNotActive,
    Kind,
    NotAChipCard,
    PhoneBoundElsewhere,
    Status,
    UnknownChip,
    expiry,
    move,
)
from card.credentials import (
    CODE_AGE_MAX,
    CardNumber,
    Delta,
    Entitlement,
    Sign1,
    Static,
    Use,
    denials,
    numbers,
    present,
    public_from_raw,
    raw_public,
    sign_static,
    to_text,
)

NUMBER_TRIES: Final = 20
BASE_EVERY: Final = 64  # deltas between two bases: a newcomer never chains more than this
PUBLISH_LOCK: Final = 0x44454E59  # "DENY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A QR to show now. ``good_until`` is when gates stop taking it."""

    text: str
    number: CardNumber
    counter: int
    made_at: datetime
    good_until: datetime


def issue(
    session: Session,
    *,
    holder_id: UUID,
    kind: Kind | str = Kind.PHONE,
    entitlements: Sequence[Entitlement] = (),
    now: datetime,
    by: str = "system",
) -> Card:
    """Issue a card and open its holder's purse. A phone's card is active at once, a physical one when it is in hand.

    Emits ``card.issued``. Raises ``AlreadyHasCard`` where the holder has a live card of the kind.
    """
    kind = Kind(kind)
    if queries.live_card(session, holder_id, kind) is not None:
        raise AlreadyHasCard(f"{kind} of {holder_id}")
    for held in entitlements:
        grant_entitlement(
            session, holder_id=holder_id, code=held.code, scope_city=held.scope_city, expires_on=held.expires_on, now=now
        )
    ledger.open_account(session, ledger.chart.purse(holder_id), now=now)
    active = kind is Kind.PHONE
    row = CardRow(
        id=new_id(),
        holder_id=holder_id,
        kind=kind.value,
        number=_free_number(session),
        status=(Status.ACTIVE if active else Status.ISSUED).value,
        status_index=_next_status_index(session),
        issued_at=now,
        activated_at=now if active else None,
        expires_on=expiry(clock.civil_date(now)),
    )
    session.add(row)
    session.flush()
    audit.record(session, actor=by, action="card.issue", subject=f"card:{row.id}", at=now, details={"kind": kind.value})
    outbox.emit(session, "card.issued", {"card_id": str(row.id), "holder_id": str(holder_id), "number": row.number}, at=now)
    return card_of(row)


def _free_number(session: Session) -> CardNumber:
    """A number nobody can guess the next of."""
    city = city_of(session).code
    for _ in range(NUMBER_TRIES):
        number = numbers.make(city, secrets.randbelow(numbers.SERIAL_MAX + 1))
        if session.scalar(select(CardRow.id).where(CardRow.number == number)) is None:
            return number
    raise AssertionError("the number space of the city is full")


def _next_status_index(session: Session) -> int:
    return int(session.execute(select(STATUS_INDEX.next_value())).scalar_one())


def activate(session: Session, *, card_id: UUID, now: datetime, by: str = "system") -> Card:
    """The holder has the card in hand: its chip leaves the deny list.

    Raises ``UnknownCard`` and ``IllegalMove`` (only an issued card is activated).
    """
    row = row_for_update(session, card_id)
    if row.status == Status.BLOCKED:
        raise CardNotActive(state=row.status)
    row.status, row.activated_at = move(Status(row.status), Status.ACTIVE).value, now
    chip = _chip_of(session, row.id)
    if chip is not None:
        _deny_index(session, chip.status_index, denied=False, now=now)
        payload: Json = {"card_id": str(row.id), "holder_id": str(row.holder_id), "status_index": chip.status_index}
        outbox.emit(session, "card.unblocked", payload, at=now)
    audit.record(session, actor=by, action="card.activate", subject=f"card:{card_id}", at=now)
    return card_of(row)


def block(session: Session, *, card_id: UUID, reason: BlockReason | str, by: str, now: datetime) -> Card:
    """Block a card and every phone bound to it; gates know with their next poll.

    Emits ``card.blocked``. Raises ``UnknownCard``; ``IllegalMove`` where it is blocked, replaced or expired already.
    """
    row = row_for_update(session, card_id)
    row.status = move(Status(row.status), Status.BLOCKED).value
    row.blocked_at, row.block_reason = now, BlockReason(reason).value
    _deny(session, row, denied=True, now=now)
    audit.record(
        session, actor=by, action="card.block", subject=f"card:{card_id}", at=now, details={"reason": row.block_reason}
    )
    return card_of(row)


def unblock(session: Session, *, card_id: UUID, by: str, now: datetime) -> Card:
    """The card was found again. Raises ``UnknownCard`` and ``IllegalMove`` (only a blocked card is unblocked)."""
    row = row_for_update(session, card_id)
    if row.status != Status.BLOCKED:
        move(Status(row.status), Status(row.status))
    row.status = move(Status.BLOCKED, Status.ACTIVE).value
    row.blocked_at = row.block_reason = None
    row.activated_at = row.activated_at or now
    _deny(session, row, denied=False, now=now)
    audit.record(session, actor=by, action="card.unblock", subject=f"card:{card_id}", at=now)
    return card_of(row)


def replace_card(session: Session, *, card_id: UUID, by: str, now: datetime) -> Card:
    """A new card for the same holder and purse; the old one is denied for good. The answer is the new card.

    Emits ``card.blocked`` for the old and ``card.issued`` for the new one. Raises ``UnknownCard`` and ``IllegalMove``.
    """
    row = row_for_update(session, card_id)
    move(Status(row.status), Status.REPLACED)
    fresh = new_id()
    was_denied = row.status == Status.BLOCKED
    row.status, row.replaced_by = Status.REPLACED.value, fresh  # the key is checked at the end of the transaction
    session.flush()
    if not was_denied:
        _deny(session, row, denied=True, now=now)
    active = row.kind == Kind.PHONE
    made = CardRow(
        id=fresh,
        holder_id=row.holder_id,
        kind=row.kind,
        number=_free_number(session),
        status=(Status.ACTIVE if active else Status.ISSUED).value,
        status_index=_next_status_index(session),
        issued_at=now,
        activated_at=now if active else None,
        expires_on=expiry(clock.civil_date(now)),
    )
    session.add(made)
    session.flush()
    audit.record(
        session, actor=by, action="card.replace", subject=f"card:{card_id}", at=now, details={"replaced_by": str(fresh)}
    )
    payload: Json = {"card_id": str(fresh), "holder_id": str(made.holder_id), "number": made.number}
    outbox.emit(session, "card.issued", payload, at=now)
    return card_of(made)


def expire(session: Session, *, now: datetime) -> int:
    """Let every card whose last day has passed expire; how many there were. A credential carries its own end."""
    done = session.execute(
        update(CardRow)
        .where(
            CardRow.expires_on < clock.civil_date(now),
            CardRow.status.in_([Status.ISSUED.value, Status.ACTIVE.value, Status.BLOCKED.value]),
        )
        .values(status=Status.EXPIRED.value)
        .returning(CardRow.id)
    )
    return len(done.all())


def _deny(session: Session, card: CardRow, *, denied: bool, now: datetime) -> None:
    """Let the card's index and those of its phones enter or leave the deny list; a phone that was ended stays on it."""
    devices = session.scalars(
        select(CardDevice).where(CardDevice.card_id == card.id, CardDevice.ended_at.is_(None)).order_by(CardDevice.id)
    )
    for index in (card.status_index, *(device.status_index for device in devices)):
        _deny_index(session, index, denied=denied, now=now)
    payload: Json = {"card_id": str(card.id), "holder_id": str(card.holder_id), "status_index": card.status_index}
    if denied:
        outbox.emit(session, "card.blocked", payload, at=now)
    else:
        outbox.emit(session, "card.unblocked", payload, at=now)


def _deny_index(session: Session, index: int, *, denied: bool, now: datetime) -> None:
    session.add(DenyChange(id=new_id(), status_index=index, denied=denied, at=now))


def grant_entitlement(
    session: Session, *, holder_id: UUID, code: str, scope_city: str, expires_on: date, now: datetime, by: str = "system"
) -> None:
    """Give or extend an entitlement in ``scope_city`` (a city's code, or a province's) until the civil day ``expires_on``."""
    values = {"code": code, "scope_city": scope_city, "granted_at": now, "expires_on": expires_on, "ended_at": None}
    session.execute(
        insert(EntitlementRow)
        .values(id=new_id(), holder_id=holder_id, **values)
        .on_conflict_do_update(constraint="uq_entitlement_holder_id_code_scope_city", set_=values)
    )
    _renew_credentials(session, holder_id)
    details: Json = {"code": code, "scope_city": scope_city, "expires_on": expires_on.isoformat()}
    audit.record(session, actor=by, action="entitlement.grant", subject=f"holder:{holder_id}", at=now, details=details)


def end_entitlement(session: Session, *, holder_id: UUID, code: str, scope_city: str, now: datetime, by: str) -> None:
    """Take an entitlement away; credentials signed before carry it until they are renewed, at most thirty days."""
    session.execute(
        update(EntitlementRow)
        .where(
            EntitlementRow.holder_id == holder_id,
            EntitlementRow.code == code,
            EntitlementRow.scope_city == scope_city,
            EntitlementRow.ended_at.is_(None),
        )
        .values(ended_at=now)
    )
    _renew_credentials(session, holder_id)
    details: Json = {"code": code, "scope_city": scope_city}
    audit.record(session, actor=by, action="entitlement.end", subject=f"holder:{holder_id}", at=now, details=details)


def _renew_credentials(session: Session, holder_id: UUID) -> None:
    session.execute(
        update(CardDevice)
        .where(CardDevice.card_id.in_(select(CardRow.id).where(CardRow.holder_id == holder_id)))
        .values(static=None, static_expires_at=None)
        .execution_options(synchronize_session="fetch")
    )


def bind_device(session: Session, card_id: UUID, device_public_key: bytes, now: datetime) -> Sign1:
    """The static credential of ``card_id`` for a phone's own key (raw Ed25519, or P-256 as WebCrypto exports it).

    Binding the same phone again renews its credential. A new phone ends the one before: its code is denied. Raises
    ``UnknownCard``, ``CardNotActive``, ``PhoneBoundElsewhere`` and ``CredentialRefused`` (not a public key).
    """
    card = row_for_update(session, card_id)
    public = raw_public(public_from_raw(device_public_key))
    device = session.scalars(select(CardDevice).where(CardDevice.public_key == public)).one_or_none()
    if device is None:
        device = _add_device(session, card, public, private_sealed=None, device_id=new_id(), now=now)
    elif device.card_id != card_id or device.ended_at is not None:
        raise PhoneBoundElsewhere
    return _static(session, card, device, now=now)


def _add_device(
    session: Session,
    card: CardRow,
    public: bytes,
    *,
    private_sealed: bytes | None,
    device_id: UUID,
    now: datetime,
    chip: bool = False,
) -> CardDevice:
    """One of each form at a time: a new phone ends the phone before, a new chip the chip before."""
    earlier = session.scalars(
        select(CardDevice).where(
            CardDevice.card_id == card.id,
            CardDevice.ended_at.is_(None),
            CardDevice.chip.is_(chip),
            CardDevice.private_sealed.is_(None) if private_sealed is None else CardDevice.private_sealed.is_not(None),
        )
    )
    for one in earlier:
        _end_device(session, one, now=now)
    device = CardDevice(
        id=device_id,
        card_id=card.id,
        public_key=public,
        private_sealed=private_sealed,
        status_index=_next_status_index(session),
        chip=chip,
        counter=0,
        bound_at=now,
    )
    session.add(device)
    session.flush()
    return device


def _end_device(session: Session, device: CardDevice, *, now: datetime) -> None:
    device.ended_at, device.static, device.static_expires_at = now, None, None
    _deny_index(session, device.status_index, denied=True, now=now)


def block_device(session: Session, *, device_id: UUID, by: str, now: datetime) -> None:
    """A phone was lost: deny that phone; the card stays good on another. Emits ``card.blocked`` with the phone's index."""
    device = session.scalars(select(CardDevice).where(CardDevice.id == device_id).with_for_update()).one()
    if device.ended_at is None:
        _end_device(session, device, now=now)
        card = queries.get(session, device.card_id)
        audit.record(session, actor=by, action="card.block-phone", subject=f"card:{card.id}", at=now)
        payload: Json = {"card_id": str(card.id), "holder_id": str(card.holder_id), "status_index": device.status_index}
        outbox.emit(session, "card.blocked", payload, at=now)


def _sign(
    session: Session, card: CardRow, *, now: datetime, life: timedelta, use: Use, status_index: int, device_key: bytes = b""
) -> tuple[Sign1, datetime]:
    """A credential of the card and when it ends: after ``life``, or with the card. A chip has its before it is handed out."""
    if card.status != Status.ACTIVE and not (use is Use.CHIP and card.status == Status.ISSUED):
        raise CardNotActive(state=card.status)
    end_of_card = datetime.combine(card.expires_on + timedelta(days=1), time.min, tzinfo=clock.SHANGHAI)
    static = Static(
        issuer=numbers.issuing_city(card.number),
        number=CardNumber(card.number),
        issued_at=now,
        expires_at=min(now + life, end_of_card),
        status_index=status_index,
        entitlements=tuple(queries.entitlements_of(session, card.holder_id, clock.civil_date(now))),
        device_key=device_key,
        use=use,
    )
    return sign_static(static, city_of(session).key(Purpose.CARD_ISSUER).private), static.expires_at


def _static(session: Session, card: CardRow, device: CardDevice, *, now: datetime) -> Sign1:
    if card.status != Status.ACTIVE:
        raise CardNotActive(state=card.status)
    if device.static is not None and device.static_expires_at is not None and device.static_expires_at - now > CREDENTIAL_RENEW:
        return Sign1(device.static)
    signed, ends_at = _sign(
        session,
        card,
        now=now,
        life=CREDENTIAL_LIFE,
        use=Use.PHONE,
        status_index=device.status_index,
        device_key=device.public_key,
    )
    device.static, device.static_expires_at = signed, ends_at
    return signed


def show_code(session: Session, *, card_id: UUID, now: datetime) -> Code:
    """A QR for a phone that keeps no key of its own: the city keeps one for it, sealed, and signs both layers.

    Weaker than a phone's own key, and the screen says so: whoever controls the holder's session can show the card. Raises
    ``UnknownCard`` and ``CardNotActive``.
    """
    card = row_for_update(session, card_id)
    device = session.scalars(
        select(CardDevice).where(
            CardDevice.card_id == card_id, CardDevice.ended_at.is_(None), CardDevice.private_sealed.is_not(None)
        )
    ).one_or_none()
    if card.status != Status.ACTIVE:
        raise CardNotActive(state=card.status)
    sealer = sealer_of(session)
    if device is None:
        private = Ed25519PrivateKey.generate()
        device_id = new_id()
        sealed = sealer.seal(private.private_bytes_raw().hex(), context=_key_context(device_id))
        device = _add_device(
            session, card, raw_public(private.public_key()), private_sealed=sealed, device_id=device_id, now=now
        )
    else:
        assert device.private_sealed is not None
        opened = sealer.open(device.private_sealed, context=_key_context(device.id))
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(opened))
    static = _static(session, card, device, now=now)
    device.counter += 1
    shown = present(static, device=private, at=now, counter=device.counter)
    return Code(
        text=to_text(shown),
        number=CardNumber(card.number),
        counter=device.counter,
        made_at=now,
        good_until=now + CODE_AGE_MAX,
    )


def _key_context(device_id: UUID) -> str:
    return f"card.card_device.private_sealed:{device_id}"


def one_layer(session: Session, *, card_id: UUID, use: Use, now: datetime, by: str = "system") -> str:
    """The text of a one-layer QR: ``KIOSK`` (five minutes, for a feature phone too) or ``PRINTED`` (for desks and inspection).

    A ``KIOSK`` code opens each gate once and can be copied meanwhile, so who made it is on record. Raises ``UnknownCard`` and
    ``CardNotActive``.
    """
    assert use in (Use.KIOSK, Use.PRINTED), "a phone's or chip's credential names its key"
    card = row_for_update(session, card_id)
    life = KIOSK_LIFE if use is Use.KIOSK else PRINTED_LIFE
    signed, _ = _sign(session, card, now=now, life=life, use=use, status_index=card.status_index)
    audit.record(session, actor=by, action=f"card.{use.name.lower()}-code", subject=f"card:{card_id}", at=now)
    return to_text(present(signed))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChipCredential:
    """What is written to a chip beside its keys. ``good_until`` is when a desk should have renewed it."""

    number: CardNumber
    credential: Sign1
    good_until: datetime
    device_id: UUID


def bind_chip(session: Session, *, card_id: UUID, public_key: bytes, by: str, now: datetime) -> ChipCredential:
    """Put a chip that made the raw Ed25519 ``public_key`` into a plastic card; an earlier chip of the card is denied.

    Until the card is activated its chip is on the deny list: what is stolen in the post opens nothing. Raises ``UnknownCard``,
    ``NotAChipCard``, ``PhoneBoundElsewhere`` (the key is bound already) and ``CredentialRefused`` (not a public key).
    """
    card = row_for_update(session, card_id)
    if card.kind != Kind.PHYSICAL or card.status not in (Status.ISSUED, Status.ACTIVE):
        raise NotAChipCard(f"{card.kind} {card.status}")
    public = raw_public(public_from_raw(public_key))
    device = _add_device(session, card, public, private_sealed=None, device_id=new_id(), now=now, chip=True)
    if card.status == Status.ISSUED:
        _deny_index(session, device.status_index, denied=True, now=now)
    audit.record(session, actor=by, action="card.personalise", subject=f"card:{card_id}", at=now)
    return _chip_credential(session, card, device, now=now)


def renew_chip(session: Session, *, card_id: UUID, by: str, now: datetime) -> ChipCredential:
    """A fresh credential for the chip of a card, with today's entitlements.

    Raises ``UnknownCard``, ``UnknownChip`` and ``CardNotActive``.
    """
    card = row_for_update(session, card_id)
    device = _chip_of(session, card_id)
    if device is None:
        raise UnknownChip(str(card_id))
    made = _chip_credential(session, card, device, now=now)
    audit.record(session, actor=by, action="card.renew-chip", subject=f"card:{card_id}", at=now)
    return made


def _chip_credential(session: Session, card: CardRow, device: CardDevice, *, now: datetime) -> ChipCredential:
    signed, ends_at = _sign(
        session,
        card,
        now=now,
        life=CHIP_LIFE,
        use=Use.CHIP,
        status_index=device.status_index,
        device_key=device.public_key,
    )
    device.static, device.static_expires_at = signed, ends_at
    return ChipCredential(number=CardNumber(card.number), credential=signed, good_until=ends_at, device_id=device.id)


def _chip_of(session: Session, card_id: UUID) -> CardDevice | None:
    return session.scalars(
        select(CardDevice).where(CardDevice.card_id == card_id, CardDevice.chip, CardDevice.ended_at.is_(None))
    ).one_or_none()


def publish_deny_list(session: Session, *, now: datetime) -> int:
    """Put every waiting change into the next delta, and after ``BASE_EVERY`` deltas make a new base; the list's seq.

    Many changes make one delta. Two publishers wait for each other.
    """
    session.execute(select(func.pg_advisory_xact_lock(PUBLISH_LOCK)))
    waiting = session.scalars(select(DenyChange).where(DenyChange.delta_seq.is_(None)).order_by(DenyChange.id)).all()
    current = queries.deny_current(session)
    if not waiting:
        return current.seq
    final = {change.status_index: change.denied for change in waiting}
    adds = {index for index, denied in final.items() if denied and index not in current}
    removes = {index for index, denied in final.items() if not denied and index in current}
    seq = current.seq
    if adds or removes:
        seq += 1
        delta = Delta.make(city=current.city, seq=seq, prev_digest=current.digest, adds=adds, removes=removes)
        session.add(
            DenyDeltaRow(
                seq=seq, made_at=now, prev_digest=delta.prev_digest, adds=delta.adds, removes=delta.removes, digest=delta.digest
            )
        )
        session.flush()
        if seq - queries.deny_base(session).seq >= BASE_EVERY:
            after = current.apply(delta)
            session.add(DenyBaseRow(seq=seq, made_at=now, digest=after.digest, denied=denials.pack(after.denied)))
    for change in waiting:
        if seq:
            change.delta_seq = seq
        else:
            session.delete(change)  # it left before the list began
    return seq


def on_card_blocked(session: Session, payload: Json) -> None:
    """``card.blocked`` and ``card.unblocked``: publish at once, so that a gate's next poll knows."""
    del payload
    publish_deny_list(session, now=clock.now())


def on_card_issued(session: Session, payload: Json) -> None:
    """``card.issued``: replacing a card also denies the old one; publish it."""
    del payload
    publish_deny_list(session, now=clock.now())
