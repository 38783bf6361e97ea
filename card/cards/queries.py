"""Reading cards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kernel import bulk
from app.kernel.city import city_of
from card.cards.models import CardDevice, CardRow, DenyBaseRow, DenyChange, DenyDeltaRow, EntitlementRow
from card.cards.rules import BlockReason, Card, Kind, Status, UnknownCard
from card.credentials import CardNumber, CredentialRefused, Delta, DenyList, Entitlement, denials, key_id, numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A phone or a chip that may show the card; ``kept_here`` where the city holds the key for it."""

    id: UUID
    card_id: UUID
    kid: bytes
    status_index: int
    kept_here: bool
    chip: bool
    bound_at: datetime
    ended_at: datetime | None
    good_until: datetime | None  # how long it shows the card without asking us again


def card_of(row: CardRow) -> Card:
    """A row as the value other rooms see."""
    return Card(
        id=row.id,
        holder_id=row.holder_id,
        kind=Kind(row.kind),
        number=CardNumber(row.number),
        status=Status(row.status),
        status_index=row.status_index,
        issued_at=row.issued_at,
        activated_at=row.activated_at,
        expires_on=row.expires_on,
        blocked_at=row.blocked_at,
        block_reason=BlockReason(row.block_reason) if row.block_reason else None,
        replaced_by=row.replaced_by,
    )


def row_for_update(session: Session, card_id: UUID) -> CardRow:
    """The card's row, locked. Raises ``UnknownCard``."""
    row = session.scalars(select(CardRow).where(CardRow.id == card_id).with_for_update()).one_or_none()
    if row is None:
        raise UnknownCard(str(card_id))
    return row


def get(session: Session, card_id: UUID) -> Card:
    """The card. Raises ``UnknownCard``."""
    row = session.get(CardRow, card_id)
    if row is None:
        raise UnknownCard(str(card_id))
    return card_of(row)


def by_number(session: Session, number: str) -> Card:
    """The card with this number, spaces ignored; also when it is blocked, replaced or expired. Raises ``UnknownCard``."""
    try:
        wanted = numbers.parse(number)
    except CredentialRefused as refusal:
        raise UnknownCard("not a card number") from refusal
    row = session.scalars(select(CardRow).where(CardRow.number == wanted)).one_or_none()
    if row is None:
        raise UnknownCard(numbers.masked(wanted))
    return card_of(row)


def holders_of(session: Session, numbers_: Iterable[str]) -> dict[str, UUID]:
    """The holder of each of these cards of ours; a number that was never issued is left out."""
    return dict(
        bulk.rows(
            session,
            "SELECT number, holder_id FROM card.card WHERE number = ANY(%(numbers)s::text[])",
            numbers=bulk.texts(set(numbers_)),
        )
    )


def cards_of(session: Session, holder_id: UUID) -> list[Card]:
    """All cards of a holder, the newest first."""
    rows = session.scalars(select(CardRow).where(CardRow.holder_id == holder_id).order_by(CardRow.id.desc()))
    return [card_of(row) for row in rows]


def live_card(session: Session, holder_id: UUID, kind: Kind = Kind.PHONE) -> Card | None:
    """The holder's live card of ``kind`` (issued, active or blocked), if there is one."""
    return next((card for card in cards_of(session, holder_id) if card.kind is kind and card.live), None)


def devices_of(session: Session, card_id: UUID) -> list[Device]:
    """The phones and chips a card was bound to, the newest first."""
    rows = session.scalars(select(CardDevice).where(CardDevice.card_id == card_id).order_by(CardDevice.id.desc()))
    return [
        Device(
            id=row.id,
            card_id=row.card_id,
            kid=key_id(row.public_key),
            status_index=row.status_index,
            kept_here=row.private_sealed is not None,
            chip=row.chip,
            bound_at=row.bound_at,
            ended_at=row.ended_at,
            good_until=row.static_expires_at,
        )
        for row in rows
    ]


def entitlements_of(session: Session, holder_id: UUID, on: date) -> list[Entitlement]:
    """The holder's entitlements that have not ended and hold on the civil day ``on`` or later, whatever their scope."""
    rows = session.scalars(
        select(EntitlementRow)
        .where(EntitlementRow.holder_id == holder_id, EntitlementRow.ended_at.is_(None), EntitlementRow.expires_on >= on)
        .order_by(EntitlementRow.code, EntitlementRow.scope_city)
    )
    return [Entitlement(code=row.code, scope_city=row.scope_city, expires_on=row.expires_on) for row in rows]


def _delta(city: str, row: DenyDeltaRow) -> Delta:
    return Delta(city=city, seq=row.seq, prev_digest=row.prev_digest, adds=row.adds, removes=row.removes, digest=row.digest)


def deny_base(session: Session) -> DenyList:
    """The deny list as of its newest base; empty before the first one. :func:`deny_deltas` has what came after."""
    city = city_of(session).code
    row = session.scalars(select(DenyBaseRow).order_by(DenyBaseRow.seq.desc()).limit(1)).one_or_none()
    if row is None:
        return DenyList.empty(city)
    return DenyList(city=city, seq=row.seq, digest=row.digest, denied=denials.unpack(row.denied))


def deny_deltas(session: Session, since: int, *, most: int = 1000) -> Sequence[Delta]:
    """Up to ``most`` published deltas after ``since``, in order."""
    city = city_of(session).code
    rows = session.scalars(select(DenyDeltaRow).where(DenyDeltaRow.seq > since).order_by(DenyDeltaRow.seq).limit(most))
    return [_delta(city, row) for row in rows]


def denial_of(session: Session, status_index: int) -> tuple[int, datetime] | None:
    """With which published delta a status index came onto the deny list, and when that was; none while it is not on it."""
    row = session.execute(
        select(DenyChange.denied, DenyDeltaRow.seq, DenyDeltaRow.made_at)
        .join(DenyDeltaRow, DenyDeltaRow.seq == DenyChange.delta_seq)
        .where(DenyChange.status_index == status_index)
        .order_by(DenyDeltaRow.seq.desc(), DenyChange.id.desc())
        .limit(1)
    ).one_or_none()
    return (row.seq, row.made_at) if row is not None and row.denied else None


class Standing(NamedTuple):
    """Whose a card is, and whether it is good now."""

    holder_id: UUID
    good: bool


_DENIED: Final = """coalesce((
    SELECT d.denied FROM card.deny_change d WHERE d.status_index = %(index)s AND d.delta_seq IS NOT NULL
    ORDER BY d.delta_seq DESC, d.id DESC LIMIT 1), false)"""
_STANDING: Final = f"SELECT c.holder_id, c.status, {_DENIED} FROM card.card c WHERE c.number = %(number)s"  # noqa: S608

# Whose card %(number)s is, where it and the device behind %(index)s are good now; else no row. For a statement that acts on it.
HOLDER_IF_GOOD: Final = f"""
SELECT c.holder_id FROM card.card c WHERE c.number = %(number)s AND c.status = '{Status.ACTIVE}' AND NOT {_DENIED}
"""  # noqa: S608


def standing(session: Session, number: str, status_index: int) -> Standing | None:
    """Holder of a card, and whether it and the device behind ``status_index`` are good now; none: never issued.

    One statement without objects, for a gate that waits for it.
    """
    connection = session.connection().connection.driver_connection
    assert connection is not None
    row = connection.execute(_STANDING, {"number": number, "index": status_index}, prepare=True).fetchone()
    return None if row is None else Standing(holder_id=row[0], good=row[1] == Status.ACTIVE.value and not row[2])


def denials_of(session: Session, indexes: Iterable[int]) -> dict[int, tuple[int, datetime]]:
    """As :func:`denial_of`, of many status indexes at once; those that are not on the list are left out."""
    newest = bulk.rows(
        session,
        """SELECT DISTINCT ON (c.status_index) c.status_index, c.denied, d.seq, d.made_at
           FROM card.deny_change c JOIN card.deny_delta d ON d.seq = c.delta_seq
           WHERE c.status_index = ANY(%(indexes)s::bigint[]) ORDER BY c.status_index, d.seq DESC, c.id DESC""",
        indexes=bulk.texts(map(str, set(indexes))),
    )
    return {index: (seq, made_at) for index, denied, seq, made_at in newest if denied}


def deny_current(session: Session) -> DenyList:
    """The deny list as published now."""
    current = deny_base(session)
    for delta in deny_deltas(session, current.seq):
        current = current.apply(delta)
    return current


def status_indexes(session: Session) -> int:
    """One more than the highest status index given out so far."""
    highest = session.execute(
        select(
            func.greatest(
                select(func.max(CardRow.status_index)).scalar_subquery(),
                select(func.max(CardDevice.status_index)).scalar_subquery(),
            )
        )
    ).scalar_one()
    return int(highest or 0) + 1


def deny_part(session: Session, since: int | None = None) -> dict[str, object]:
    """The ``deny`` part of a terminal's bundle: only the deltas after ``since``, or base and deltas where that is shorter.

    ``since`` is the list's seq that the terminal holds; ``None`` where it holds none or lost its place.
    """
    base = deny_base(session)
    if since is not None and since >= base.seq:
        return denials.part(None, deny_deltas(session, since))
    return denials.part(base, deny_deltas(session, base.seq))
