"""How a case looks on a page, for the resident and for the office: its state, its timeline, its answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from app.kernel.errors import msg
from app.web.i18n import language, translate
from portal.kit.dates import civil_date
from services.applications import Case, Clock, Event, Happened, State
from services.catalogue import Certainty, FormField
from services.documents import DocumentView

STATES: Final[Mapping[State, tuple[str, str]]] = {
    State.DRAFT: (msg("Not handed in yet"), "neutral"),
    State.FEE_DUE: (msg("Fee to pay"), "wait"),
    State.SUBMITTED: (msg("Waiting for an officer"), "info"),
    State.IN_REVIEW: (msg("Being looked at"), "info"),
    State.CORRECTION: (msg("To be corrected by the applicant"), "wait"),
    State.PREPARED: (msg("Decision being checked"), "info"),
    State.APPROVED: (msg("Approved"), "good"),
    State.REFUSED: (msg("Refused"), "bad"),
    State.WITHDRAWN: (msg("Withdrawn"), "neutral"),
}
EVENTS: Final[Mapping[Happened, str]] = {
    Happened.BEGUN: msg("Begun"),
    Happened.HANDED_IN: msg("Handed in"),
    Happened.PAID: msg("Fee paid"),
    Happened.ACCEPTED: msg("Accepted: the clocks begin"),
    Happened.CLAIMED: msg("An officer looks at it"),
    Happened.RELEASED: msg("Given back to the queue"),
    Happened.CORRECTION_ASKED: msg("Correction asked for: the clocks stand still"),
    Happened.CORRECTED: msg("Corrected: the clocks run on"),
    Happened.PREPARED: msg("Decision prepared"),
    Happened.RETURNED: msg("Decision returned"),
    Happened.APPROVED: msg("Approved"),
    Happened.REFUSED: msg("Refused"),
    Happened.WITHDRAWN: msg("Withdrawn by the applicant"),
    Happened.LETTER_ISSUED: msg("Signed decision issued"),
    Happened.CARD_ISSUED: msg("Card issued"),
    Happened.ALLOWANCE_STARTED: msg("Allowance started"),
}
TO_THE_RESIDENT: Final[Mapping[State, str]] = {
    State.SUBMITTED: msg("Accepted"),
    State.CORRECTION: msg("Waiting for you"),
    State.PREPARED: msg("Being looked at"),
}
"""Where the resident is told something else than the office."""

STOPS: Final = frozenset({Happened.CORRECTION_ASKED})


@dataclass(frozen=True, kw_only=True)
class Stop:
    """One stop of the timeline as the kit draws it."""

    title: str
    at: datetime | None = None
    text: str = ""
    by: str = ""
    state: str = "done"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answered question as a row; ``papers`` are the files of an upload."""

    code: str
    step: str
    label: str
    text: str
    papers: tuple[DocumentView, ...] = ()


def state_name(state: State) -> str:
    """The state in words."""
    return translate(STATES[state][0])


def state_told(state: State) -> str:
    """The state in the words for whoever applied."""
    return translate(TO_THE_RESIDENT.get(state, STATES[state][0]))


def tone(state: State) -> str:
    """The colour of the state's tag."""
    return STATES[state][1]


def stops(events: list[Event], names: Mapping[str, str] | None = None) -> list[Stop]:
    """The timeline; ``names`` give the people behind actors, where the reader may know them."""
    known = names or {}
    return [
        Stop(
            title=translate(EVENTS[event.kind]),
            at=event.at,
            text=event.note if event.kind is not Happened.PREPARED else "",
            by=known.get(event.actor, ""),
            state="stopped" if event.kind in STOPS else "done",
        )
        for event in events
    ]


def ahead(case: Case) -> list[Stop]:
    """What is still to come: the decision, and by when it is promised."""
    if case.decision is not None and case.decision.approved_at is not None:
        return []
    if case.state in (State.WITHDRAWN, State.DRAFT):
        return []
    if case.state is State.FEE_DUE:
        return [Stop(title=translate("You pay the fee"), state="now"), Stop(title=translate("Decision"), state="ahead")]
    if case.state is State.CORRECTION:
        return [
            Stop(title=translate("You correct what is named"), state="now"),
            Stop(title=translate("Decision"), state="ahead"),
        ]
    text = due_sentence(case.promised) if case.promised else ""
    return [Stop(title=translate("Decision"), text=text, state="ahead")]


def due_sentence(clock: Clock) -> str:
    """``Promised by 30 November 2026``, and that it may still move where days on the way are not announced."""
    if clock.deadline is None:
        return translate("The clock stands still until you answer.")
    sentence = translate("Promised by %(day)s", day=civil_date(clock.deadline.on))
    if clock.deadline.certainty is Certainty.PREDICTED:
        sentence += translate(" (may move by a day or two: the holidays on the way are not announced yet)")
    return sentence


def days_left(due_on: date | None, today: date) -> int | None:
    """Civil days to a due date; negative when it has passed."""
    return None if due_on is None else (due_on - today).days


def answer_text(field: FormField, answer: str | list[str] | None, papers: Mapping[UUID, DocumentView]) -> str:
    """An answer in words."""
    if not answer:
        return ""
    if isinstance(answer, list):
        return ", ".join(papers[UUID(each)].filename for each in answer if UUID(each) in papers)
    if field.kind == "choice":
        return next((option.label.said(language()) for option in field.options if option.value == answer), answer)
    if field.kind == "date":
        return civil_date(date.fromisoformat(answer)) if len(answer) == len("2026-01-01") else answer
    if field.kind == "confirm":
        return translate("Yes")
    return answer


def answers(case: Case, papers: Mapping[UUID, DocumentView]) -> list[Answer]:
    """Every question of the case with its answer, in order."""
    found = []
    for step in case.pages:
        for field in step.fields:
            given = case.answers.get(field.code)
            if field.code not in case.answers and field.code not in case.problems:
                continue
            named = [UUID(each) for each in given] if isinstance(given, list) else []
            found.append(
                Answer(
                    code=field.code,
                    step=step.code,
                    label=field.label.said(language()),
                    text=answer_text(field, given, papers),
                    papers=tuple(papers[each] for each in named if each in papers),
                )
            )
    return found


def paper_ids(case: Case) -> list[UUID]:
    """The papers that the case's answers name."""
    return [UUID(each) for answer in case.answers.values() if isinstance(answer, list) for each in answer]
