"""Where a case may go, when its clocks run, who may do what. Pure."""

import secrets
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.kernel.errors import Conflict, Forbidden, FourEyes, IllegalMove, Invalid, NotFound, msg
from services.catalogue import Eligibility, Verdict


class State(StrEnum):
    """Where a case stands."""

    DRAFT = "draft"  # the resident fills it in
    FEE_DUE = "fee-due"  # handed in; waits for the fee
    SUBMITTED = "submitted"  # accepted; waits for an officer
    IN_REVIEW = "in-review"  # an officer has claimed it
    CORRECTION = "correction"  # waits for the resident; clocks stand still
    PREPARED = "prepared"  # an officer has prepared a decision; waits for a second person
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"  # by the resident


MOVES: Final[dict[State, frozenset[State]]] = {
    State.DRAFT: frozenset({State.FEE_DUE, State.SUBMITTED, State.WITHDRAWN}),
    State.FEE_DUE: frozenset({State.SUBMITTED, State.WITHDRAWN}),
    State.SUBMITTED: frozenset({State.IN_REVIEW, State.WITHDRAWN}),
    State.IN_REVIEW: frozenset({State.SUBMITTED, State.CORRECTION, State.PREPARED, State.WITHDRAWN}),
    State.CORRECTION: frozenset({State.IN_REVIEW, State.WITHDRAWN}),
    State.PREPARED: frozenset({State.APPROVED, State.REFUSED, State.IN_REVIEW}),
    State.APPROVED: frozenset(),
    State.REFUSED: frozenset(),
    State.WITHDRAWN: frozenset(),
}
ACCEPTED: Final = frozenset({State.SUBMITTED, State.IN_REVIEW, State.CORRECTION, State.PREPARED})
"""The case is with the office: its clocks have begun."""
FINAL: Final = frozenset(state for state, onward in MOVES.items() if not onward)
ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
REASON_MAX: Final = 2000


class Outcome(StrEnum):
    """What a decision says."""

    APPROVED = "approved"
    REFUSED = "refused"


class Happened(StrEnum):
    """What a case's timeline tells."""

    BEGUN = "begun"
    HANDED_IN = "handed-in"
    PAID = "paid"
    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    RELEASED = "released"
    CORRECTION_ASKED = "correction-asked"
    CORRECTED = "corrected"
    PREPARED = "prepared"
    RETURNED = "returned"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    LETTER_ISSUED = "letter-issued"
    CARD_ISSUED = "card-issued"
    ALLOWANCE_STARTED = "allowance-started"


INTERNAL: Final = frozenset({Happened.RELEASED, Happened.PREPARED, Happened.RETURNED})
"""What the resident is not told of: the office's own steps."""


class NoSuchApplication(NotFound):
    """No such case, or it is not this caller's to see."""

    code = "no-such-application"
    sentence = msg("We could not find this application.")


class Incomplete(Invalid):
    """The form is not fully and well answered."""

    code = "application-incomplete"
    sentence = msg("Some answers are missing. Check your answers once more.")


class NotDeclared(Invalid):
    """The declaration was not confirmed."""

    code = "declaration-missing"
    sentence = msg("Confirm that what you have given is true.")


class NotEditable(Conflict):
    """The answer cannot be changed now."""

    code = "answer-not-open"
    sentence = msg("This answer cannot be changed now.")


class NotTheCaseOfficer(Forbidden):
    """Only the officer who has claimed the case may do this."""

    code = "not-your-case"
    sentence = msg("Another officer has this case. Claim it first.")


class AgainstTheRule(Conflict):
    """A criterion is not met, so the case cannot be approved."""

    code = "criterion-not-met"
    sentence = msg("This cannot be approved: a condition is not met (%(criterion)s).")


class OwnCase(Forbidden):
    """Nobody works on a case of their own."""

    code = "own-case"
    sentence = msg("This is your own application. Somebody else has to work on it.")


def move(state: State, to: State) -> State:
    """``to``, when the table of moves has it. Raises :class:`IllegalMove`."""
    if to not in MOVES[state]:
        raise IllegalMove(f"{state} -> {to}", state=state.value)
    return to


def fresh_reference(city_code: str, on: date) -> str:
    """A case's number: the city, the civil date, six letters."""
    return f"{city_code}-{on:%y%m%d}-{''.join(secrets.choice(ALPHABET) for _ in range(6))}"


def second_pair_of_eyes(*, prepared_by: UUID, approver: UUID, applicant: UUID) -> None:
    """The approver is neither the preparer nor the applicant. Raises :class:`FourEyes`, :class:`OwnCase`."""
    if prepared_by == approver:
        raise FourEyes
    if applicant == approver:
        raise OwnCase


def may_decide(outcome: Outcome, eligibility: Eligibility) -> None:
    """Nothing is approved against a criterion that fails; an open one is the officer's to judge. Raises."""
    if outcome is Outcome.APPROVED:
        for finding in eligibility.findings:
            if finding.verdict is Verdict.NO:
                raise AgainstTheRule(criterion=finding.criterion.code)


def reason_of(outcome: Outcome, reason: str) -> str:
    """The reason as it is kept; a refusal needs one. Raises :class:`Invalid` with the field named."""
    text = reason.strip()
    if outcome is Outcome.REFUSED and not text:
        raise Invalid(fields={"reason": msg("Give the reason: the resident reads it and can appeal against it.")})
    if len(text) > REASON_MAX:
        raise Invalid(fields={"reason": msg("Shorten the reason to 2,000 characters.")})
    return text


def age_on(born: date | None, today: date) -> int | None:
    """Full years of age, or none where the birth date is not known."""
    if born is None:
        return None
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def named_fields(notes: dict[str, str], known: Sequence[str], message: str) -> dict[str, str]:
    """The questions that a correction names, with a note each. Raises :class:`Invalid` where it names none or says nothing."""
    named = {code: note.strip() for code, note in notes.items()}
    if not named or set(named) - set(known):
        raise Invalid(fields={"fields": msg("Choose at least one answer that has to be corrected.")})
    if not message.strip() and not any(named.values()):
        raise Invalid(fields={"message": msg("Say what has to be corrected, all at once.")})
    return named
