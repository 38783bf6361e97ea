"""What transit decides, purely: refusals, liability of a tap, staleness of a terminal."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from app.kernel.errors import Conflict, IllegalMove, Invalid, NotFound, Unauthenticated, msg

ENROLMENT_LIFE: Final = timedelta(minutes=10)
GRACE: Final = timedelta(minutes=10)
SKEW_MAX: Final = timedelta(seconds=120)
BUNDLE_LIFE: Final = timedelta(hours=72)
MODES: Final = ("entry", "exit", "both", "ride")


class EnrolmentRefused(Unauthenticated):
    """The enrolment token is unknown, used or older than ten minutes."""

    code = "enrolment-refused"
    sentence = msg("The enrolment token is not valid. Ask the operator for a new one.")


class UnknownEnrolment(NotFound):
    """No such enrolment token, or another operator's."""

    code = "unknown-enrolment"
    sentence = msg("We could not find this token.")


class UnknownTerminal(Unauthenticated):
    """The terminal is not enrolled here, or was revoked."""

    code = "unknown-terminal"
    sentence = msg("This terminal is not enrolled, or no longer.")


class CertificateExpired(Unauthenticated):
    """The terminal's certificate ran out before it was renewed: it enrols again with a new token."""

    code = "terminal-certificate-expired"
    sentence = msg("The terminal's certificate has run out. Enrol it again with a new token.")


class ProofReplayed(Conflict):
    """The same signed request came before."""

    code = "proof-replayed"
    sentence = msg("This signed request was received before.")


class TerminalProofRefused(Unauthenticated):
    """The proof of a terminal's request is missing, cannot be read, or was made for another request, key or time."""

    code = "terminal-proof-refused"
    sentence = msg("The terminal did not prove this request (%(reason)s).")


class OtherTerminal(Invalid):
    """The batch names another terminal than the one that signed it."""

    code = "other-terminal"
    sentence = msg("The batch belongs to another terminal.")


class UnknownOperator(NotFound):
    """No feed of this city names the operator."""

    code = "unknown-operator"
    sentence = msg("There is no such operator in this city.")


class UnknownJourney(NotFound):
    """No such journey, or it is not the caller's to see."""

    code = "unknown-journey"
    sentence = msg("We could not find this journey.")


class TariffChanged(Conflict):
    """A feed changes a tariff version that was imported before. Publish a new version instead."""

    code = "tariff-version-changed"
    sentence = msg("The tariff version %(tariff)s was imported before and cannot change. Give the new one a name of its own.")


class NoSuchDraft(NotFound):
    """No such draft or run, or it is another operator's."""

    code = "unknown-tariff-draft"
    sentence = msg("There is no such draft.")


class NoTariffYet(Conflict):
    """The operator has no version of its fares in ``tariffs.txt`` from which a draft could begin."""

    code = "no-tariff-to-begin-from"
    sentence = msg("A draft begins from a published version, and there is none. Import a feed first.")


class StaleDraft(Conflict):
    """Somebody saved the draft, or another feed came in, since the page was opened."""

    code = "tariff-draft-stale"
    sentence = msg("Somebody changed this meanwhile. Look at the newest version and make your change again.")


class TariffBeginsTooEarly(Invalid):
    """New fares begin tomorrow at the earliest: journeys already made keep their price."""

    code = "tariff-begins-too-early"
    sentence = msg("The first day of new fares has to be tomorrow or later.")


class DraftState(StrEnum):
    """Where a draft of a tariff stands."""

    OPEN = "open"
    SUBMITTED = "submitted"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"


DRAFT_MOVES: Final[dict[DraftState, frozenset[DraftState]]] = {
    DraftState.OPEN: frozenset({DraftState.OPEN, DraftState.SUBMITTED, DraftState.WITHDRAWN}),
    DraftState.SUBMITTED: frozenset({DraftState.PUBLISHED, DraftState.WITHDRAWN}),
    DraftState.PUBLISHED: frozenset(),
    DraftState.WITHDRAWN: frozenset(),
}


def move_draft(state: DraftState, to: DraftState) -> DraftState:
    """The state after the move. Raises ``IllegalMove``. Only a sending back opens a submitted draft again."""
    if to not in DRAFT_MOVES[state]:
        raise IllegalMove(f"{state.value} to {to.value}")
    return to


class RunState(StrEnum):
    """Where a what-if run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class PresentmentConflict(Conflict):
    """The claim's id came before with other content."""

    code = "presentment-conflict"
    sentence = msg("This claim was received before with other content.")


class NotOurCard(Invalid):
    """A claim for a card that this city did not issue."""

    code = "not-our-card"
    sentence = msg("This city did not issue the card.")


class Liability(StrEnum):
    """Who bears a ride that is never paid."""

    ISSUER = "issuer"
    OPERATOR = "operator"


class LiabilityReason(StrEnum):
    """Why the one or the other bears a ride."""

    NOT_DENIED = "not-denied"  # the card was good: an unpaid ride is its issuer's
    BEFORE_DEADLINE = "before-deadline"  # denied since, but the list was not yet due at the gate
    HELD_LIST = "held-list"  # the gate had the list and let the card through
    AFTER_DEADLINE = "after-deadline"  # the gate ought to have had the list


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """Who bears an accepted tap, why, and until when the issuer would have (none: the card was on no list)."""

    bearer: Liability
    reason: LiabilityReason
    deadline: datetime | None


def ruling(*, tapped_at: datetime, held_seq: int, denied_seq: int | None, published_at: datetime | None) -> Ruling:
    """Whose risk an accepted tap is, and why.

    ``denied_seq`` and ``published_at`` say with which deny list the card became refusable (none: it is not on it). Until that
    list's publication and ten minutes of grace the issuer bears the ride; after it, or when the gate held that list
    (``held_seq``) and let the card through all the same, the operator does.
    """
    if denied_seq is None or published_at is None:
        return Ruling(bearer=Liability.ISSUER, reason=LiabilityReason.NOT_DENIED, deadline=None)
    deadline = published_at + GRACE
    if held_seq >= denied_seq:
        return Ruling(bearer=Liability.OPERATOR, reason=LiabilityReason.HELD_LIST, deadline=deadline)
    if tapped_at > deadline:
        return Ruling(bearer=Liability.OPERATOR, reason=LiabilityReason.AFTER_DEADLINE, deadline=deadline)
    return Ruling(bearer=Liability.ISSUER, reason=LiabilityReason.BEFORE_DEADLINE, deadline=deadline)


def liability(*, tapped_at: datetime, held_seq: int, denied_seq: int | None, published_at: datetime | None) -> Liability:
    """The bearer alone of :func:`ruling`."""
    return ruling(tapped_at=tapped_at, held_seq=held_seq, denied_seq=denied_seq, published_at=published_at).bearer


class Freshness(StrEnum):
    """How old a terminal's lists are, by the validator's own thresholds."""

    FRESH = "fresh"
    AGEING = "ageing"
    OLD = "old"
    EXPIRED = "expired"
    NEVER = "never"
    REVOKED = "revoked"


_STEPS: Final = ((timedelta(hours=1), Freshness.FRESH), (timedelta(hours=24), Freshness.AGEING), (BUNDLE_LIFE, Freshness.OLD))


def freshness(*, synced_at: datetime | None, revoked: bool, now: datetime) -> Freshness:
    """How fresh the terminal's lists are at ``now``."""
    if revoked:
        return Freshness.REVOKED
    if synced_at is None:
        return Freshness.NEVER
    return next((state for age, state in _STEPS if now - synced_at <= age), Freshness.EXPIRED)


@dataclass(frozen=True, slots=True)
class Reach:
    """What has been received of one run of a terminal: every seq from 1 to ``highest``, but for the ``gaps`` (inclusive)."""

    highest: int = 0
    gaps: tuple[tuple[int, int], ...] = ()

    @property
    def contiguous(self) -> int:
        """The highest seq up to which nothing is missing."""
        return self.gaps[0][0] - 1 if self.gaps else self.highest

    def with_(self, received: Iterable[int]) -> "Reach":
        """With these received too, in any order, again or not."""
        highest, gaps = self.highest, list(self.gaps)
        for seq in sorted(set(received)):
            if seq > highest:
                if seq > highest + 1:
                    gaps.append((highest + 1, seq - 1))
                highest = seq
                continue
            place = bisect_right(gaps, (seq, highest)) - 1
            if place >= 0 and gaps[place][0] <= seq <= gaps[place][1]:
                first, last = gaps[place]
                gaps[place : place + 1] = [gap for gap in ((first, seq - 1), (seq + 1, last)) if gap[0] <= gap[1]]
        return Reach(highest, tuple(gaps))


class Difference(NamedTuple):
    """What one pricing changed for one operator."""

    operator_id: str
    amount_minor: int
    total_minor: int


def differences(*, owed: dict[str, int], posted: dict[str, int]) -> list[Difference]:
    """What must be posted so that ``posted`` becomes ``owed``, operator by operator; nothing where they agree."""
    return [
        Difference(operator, total - before, total)
        for operator in sorted({**posted, **owed})
        if (total := owed.get(operator, 0)) != (before := posted.get(operator, 0))
    ]
