"""What accounts and transfers are called on a screen."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from flask import url_for
from sqlalchemy.orm import Session

from app.kernel.errors import msg
from app.web.i18n import translate
from card import health, purchases, transit
from card.ledger import FORK, AccountKind, FindingKind, TransferCode
from portal.kit import care, journeys
from portal.kit.display import two_languages
from portal.kit.money import yuan

KINDS: Final[dict[AccountKind, str]] = {
    AccountKind.PURSE: msg("Card purses"),
    AccountKind.MEDICAL: msg("Medical personal accounts"),
    AccountKind.FAMILY: msg("Family medical accounts"),
    AccountKind.EARMARKED: msg("Earmarked purses"),
    AccountKind.RECEIVABLE: msg("Owed by card holders"),
    AccountKind.OPERATOR: msg("Transit operators"),
    AccountKind.HOSPITAL: msg("Hospitals and pharmacies"),
    AccountKind.MERCHANT: msg("Merchants and utilities"),
    AccountKind.DUE_TO: msg("Owed to other cities"),
    AccountKind.DUE_FROM: msg("Owed by other cities"),
    AccountKind.SETTLEMENT: msg("Settlement between cities"),
    AccountKind.STRIPE_CLEARING: msg("Card payments on their way"),
    AccountKind.BANK: msg("Bank"),
    AccountKind.FEES: msg("Service fees"),
    AccountKind.POOLED_FUND: msg("Pooled medical funds"),
    AccountKind.CATASTROPHIC_FUND: msg("Catastrophic illness funds"),
    AccountKind.PENSION_FUND: msg("Pension fund"),
    AccountKind.ALLOWANCE_FUND: msg("Allowance budget"),
    AccountKind.SUSPENSE: msg("Suspense"),
    AccountKind.CLEARING_FEES: msg("Clearing fees"),
    AccountKind.PROVIDER_FEES: msg("Payment provider fees"),
    AccountKind.LOSSES: msg("Losses the city bears"),
    AccountKind.SHARD: msg("On its way between shards"),
}

CODES: Final[dict[TransferCode, str]] = {
    TransferCode.TOP_UP: msg("Top-up"),
    TransferCode.TOP_UP_REFUND: msg("Top-up refunded"),
    TransferCode.OPENING: msg("Opening balance"),
    TransferCode.CORRECTION: msg("Correction"),
    TransferCode.REVERSAL: msg("Reversal"),
    TransferCode.FARE: msg("Fare"),
    TransferCode.FARE_CORRECTION: msg("Fare corrected"),
    TransferCode.FOREIGN_FARE: msg("Fare in another city"),
    TransferCode.FOREIGN_FARE_CORRECTION: msg("Fare in another city corrected"),
    TransferCode.DEBT_RECOVERY: msg("Debt recovered"),
    TransferCode.FARE_DEBT: msg("Fare owed"),
    TransferCode.FARE_SHARE: msg("Fare shared between operators"),
    TransferCode.WRITE_OFF: msg("Debt written off"),
    TransferCode.FRAUD_COVER: msg("Ride on a copied code covered"),
    TransferCode.SERVICE_FEE: msg("Service fee"),
    TransferCode.SERVICE_FEE_REFUND: msg("Service fee refunded"),
    TransferCode.PROVIDER_FEE: msg("Payment provider's fee"),
    TransferCode.PAYOUT: msg("Paid out to the bank"),
    TransferCode.HEALTH_POOLED: msg("Care paid by the pooled fund"),
    TransferCode.HEALTH_CATASTROPHIC: msg("Care paid by the catastrophic illness fund"),
    TransferCode.HEALTH_OWN_ACCOUNT: msg("Care paid from the personal account"),
    TransferCode.HEALTH_FAMILY_ACCOUNT: msg("Care paid from the family account"),
    TransferCode.HEALTH_CASH: msg("Care paid by the patient"),
    TransferCode.FOREIGN_HEALTH: msg("Care in another city"),
    TransferCode.HEALTH_CORRECTION: msg("Care corrected"),
    TransferCode.PENSION: msg("Pension"),
    TransferCode.ALLOWANCE: msg("Allowance"),
    TransferCode.CONTRIBUTION: msg("Contribution"),
    TransferCode.BENEFIT_RECOVERY: msg("Benefit recovered"),
    TransferCode.GRANT: msg("Earmarked purse filled"),
    TransferCode.GRANT_RETURN: msg("Earmarked purse ended"),
    TransferCode.PURCHASE: msg("Purchase"),
    TransferCode.REFUND: msg("Refund"),
    TransferCode.BILL: msg("Bill"),
    TransferCode.SETTLEMENT: msg("Settlement"),
    TransferCode.CLEARING_FEE: msg("Clearing fee"),
    TransferCode.DISPUTE_CREDIT: msg("Dispute: credit adjustment"),
    TransferCode.DISPUTE_CHARGEBACK: msg("Dispute: chargeback"),
    TransferCode.CLEARING_CORRECTION: msg("Clearing difference corrected"),
    TransferCode.PROVISIONAL_CREDIT: msg("Credited while a dispute runs"),
    TransferCode.SUSPENSE_CLEARED: msg("Suspense cleared"),
}


FINDINGS: Final = {
    FindingKind.BALANCE: msg("A balance is not the sum of its transfers"),
    FindingKind.HELD: msg("What is held is not the sum of the holds"),
    FindingKind.FLOOR: msg("An account is below its floor"),
    FindingKind.RUNNING_BALANCE: msg("A balance after a transfer does not follow from the one before"),
    FindingKind.DELTA: msg("A batch's total for an account is not the sum of its transfers"),
    FindingKind.BATCH: msg("A batch does not hold what it was written with"),
    FindingKind.ACCOUNT: msg("A transfer joins accounts that do not mix"),
    FindingKind.HOLD: msg("A posted hold has no transfer"),
    FindingKind.REVERSAL: msg("More was given back than there was"),
    FindingKind.SUM: msg("The books do not sum to zero"),
    FindingKind.MARK: msg("A running total is not the sum of what was folded into it"),
    FindingKind.ARCHIVE: msg("An archived month is not what the city signed"),
    FindingKind.CLOCK: msg("A clock is far off"),
    FindingKind.PROOF: msg("Something sealed is not as it was sealed"),
    FORK: msg("Another city's books do not continue what it showed before"),
}


IN_FEN: Final = frozenset(
    {
        FindingKind.BALANCE,
        FindingKind.HELD,
        FindingKind.FLOOR,
        FindingKind.RUNNING_BALANCE,
        FindingKind.HOLD,
        FindingKind.REVERSAL,
        FindingKind.SUM,
    }
)  # the findings that say an amount, as a bare number of fen
NOTHING: Final = msg("nothing")  # as a check says it of what is not there

SUITES: Final = (msg("SHA-256 and Ed25519"), msg("SM3 and SM2"))  # as the ledger's tree names them


def cosigners(said: Mapping[str, str]) -> list[tuple[str, datetime]]:
    """The cities that cosigned, by code, and when each did: from what the verifier of a receipt says."""
    lines = [text.split() for name, text in said.items() if name.startswith("cosigned")]
    return [(name.rpartition("/")[2], datetime.fromisoformat(at)) for name, at in lines]


def finding_name(kind: str) -> str:
    """What a check found, in the page's language."""
    return translate(FINDINGS[kind]) if kind in FINDINGS else kind


def finding_said(kind: str, said: str) -> str:
    """What a finding expected or found: an amount as money, all else as the check wrote it."""
    if kind in IN_FEN and said.removeprefix("-").isdecimal():
        return yuan(int(said))
    return translate(NOTHING) if said == NOTHING else said


def subject_link(subject: str) -> str:
    """Where the thing that a finding is about can be looked at, or nothing."""
    kind, _, name = subject.partition(":")
    return url_for("staff_ledger.find", q=name) if kind in {"transfer", "account"} else ""


def kind_name(kind: AccountKind) -> str:
    """The name of a kind of account, in the page's language."""
    return translate(KINDS[kind])


def code_name(code: TransferCode) -> str:
    """Why money moved, in the page's language."""
    return translate(CODES[code])


def owner_names(session: Session, keys: Iterable[str]) -> dict[str, str]:
    """Whose the accounts are, by key, in the page's language: operators, hospitals, merchants, cities and schemes.

    A key whose owner has no public name is left out: the ledger knows no residents.
    """
    asked = {key: (kind, owner) for key in keys for kind, _, owner in [key.partition(":")] if owner}
    kinds = {kind for kind, _ in asked.values()}
    names: dict[tuple[str, str], str] = {}
    if AccountKind.OPERATOR in kinds:
        names |= {(AccountKind.OPERATOR, one.id): journeys.named(one.names) for one in transit.operators(session)}
    if AccountKind.MERCHANT in kinds:
        found = purchases.merchants(session)
        names |= {(AccountKind.MERCHANT, id_): two_languages(name) for id_, name in found.items()}
    for kind, owner in set(asked.values()):
        if kind == AccountKind.HOSPITAL:
            names[kind, owner] = _hospital_name(session, owner)
        elif kind in {AccountKind.DUE_TO, AccountKind.DUE_FROM}:
            names[kind, owner] = journeys.city(owner)
        elif kind in {AccountKind.POOLED_FUND, AccountKind.CATASTROPHIC_FUND} and owner in care.SCHEMES:
            names[kind, owner] = translate(care.SCHEMES[health.Scheme(owner)])
    return {key: name for key, place in asked.items() if (name := names.get(place)) and name != place[1]}


def _hospital_name(session: Session, hospital_id: str) -> str:
    try:
        return two_languages(health.hospital(session, hospital_id).name)
    except health.NoSuchHospital:
        return ""


def account_name(key: str, owners: Mapping[str, str] | None = None) -> str:
    """An account's key in words: its kind, and whose it is (``Transit operators · Nanjing Metro``).

    ``owners`` is what :func:`owner_names` says of the key; without a name the owner's id stands there. An unknown key stays as
    it is.
    """
    kind, _, owner = key.partition(":")
    if kind not in KINDS:
        return key
    return kind_name(AccountKind(kind)) + (f" · {(owners or {}).get(key, owner)}" if owner else "")
