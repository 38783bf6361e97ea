"""What a card may become, and who may hold which. Pure."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.kernel.errors import Conflict, IllegalMove, NotFound, msg
from card.credentials import CardNumber


class Kind(StrEnum):
    """What the card is made of. A holder has at most one live card of each kind."""

    PHONE = "phone"
    PHYSICAL = "physical"


class Status(StrEnum):
    """Where a card stands."""

    ISSUED = "issued"  # made, not yet in the holder's hands
    ACTIVE = "active"
    BLOCKED = "blocked"
    REPLACED = "replaced"
    EXPIRED = "expired"


MOVES: Final[dict[Status, frozenset[Status]]] = {
    Status.ISSUED: frozenset({Status.ACTIVE, Status.BLOCKED, Status.REPLACED, Status.EXPIRED}),
    Status.ACTIVE: frozenset({Status.BLOCKED, Status.REPLACED, Status.EXPIRED}),
    Status.BLOCKED: frozenset({Status.ACTIVE, Status.REPLACED, Status.EXPIRED}),
    Status.REPLACED: frozenset(),
    Status.EXPIRED: frozenset({Status.REPLACED}),
}
LIVE: Final = frozenset({Status.ISSUED, Status.ACTIVE, Status.BLOCKED})


class BlockReason(StrEnum):
    """Why a card is blocked."""

    LOST = "lost"
    STOLEN = "stolen"
    DAMAGED = "damaged"
    MISUSE = "misuse"
    HOLDER_ASKED = "holder-asked"
    DECEASED = "deceased"


RESIDENT_REASONS: Final = (BlockReason.LOST, BlockReason.STOLEN, BlockReason.DAMAGED, BlockReason.HOLDER_ASKED)

CARD_LIFE_YEARS: Final = 10
CREDENTIAL_LIFE: Final = timedelta(days=30)  # how long a phone renews its code with the network off
CREDENTIAL_RENEW: Final = timedelta(days=15)  # below this the next visit brings a fresh static part
CHIP_LIFE: Final = timedelta(days=365)  # a chip cannot renew itself: a desk or kiosk with a reader does
KIOSK_LIFE: Final = timedelta(minutes=5)
PRINTED_LIFE: Final = timedelta(days=365)


class UnknownCard(NotFound):
    """No such card, or not the caller's."""

    code = "unknown-card"
    sentence = msg("We do not know this card.")


class AlreadyHasCard(Conflict):
    """The holder has a live card of this kind."""

    code = "already-has-card"
    sentence = msg("There is already a card of this kind. Replace it instead.")


class CardNotActive(Conflict):
    """The card exists and cannot be shown now."""

    code = "card-not-active"
    sentence = msg("This card cannot be used now: it is “%(state)s”.")


class NotAChipCard(Conflict):
    """A chip is put into a plastic card that is live; this one is another kind, or over."""

    code = "not-a-chip-card"
    sentence = msg("Only a plastic card in use can carry a chip.")


class UnknownChip(NotFound):
    """The card has no chip of ours."""

    code = "unknown-chip"
    sentence = msg("This card has no chip that we know.")


class PhoneBoundElsewhere(Conflict):
    """The phone's key is bound to another card."""

    code = "phone-bound-elsewhere"
    sentence = msg("This phone's key belongs to another card.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A card as other rooms see it. ``status_index`` is the card's own place on the deny list (its phones have theirs)."""

    id: UUID
    holder_id: UUID
    kind: Kind
    number: CardNumber
    status: Status
    status_index: int
    issued_at: datetime
    activated_at: datetime | None
    expires_on: date
    blocked_at: datetime | None
    block_reason: BlockReason | None
    replaced_by: UUID | None

    @property
    def live(self) -> bool:
        """Whether it is issued, active or blocked: neither replaced nor expired."""
        return self.status in LIVE


def move(current: Status, to: Status) -> Status:
    """``to``, if a card may go there from ``current``. Raises ``IllegalMove``."""
    if to not in MOVES[current]:
        raise IllegalMove(f"{current} -> {to}", state=current.value)
    return to


def expiry(issued_on: date) -> date:
    """The last civil day of a card issued on ``issued_on``: ten years later, less a day; from 29 February, the 28th."""
    try:
        end = issued_on.replace(year=issued_on.year + CARD_LIFE_YEARS)
    except ValueError:
        end = issued_on.replace(year=issued_on.year + CARD_LIFE_YEARS, month=3, day=1)
    return end - timedelta(days=1)
