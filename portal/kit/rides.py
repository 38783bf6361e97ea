"""Words for terminals' places, alarms, copied codes and unpaid rides, shared by the city's desk and the operator's console."""

from collections.abc import Mapping
from typing import Final

from app.kernel.errors import msg
from app.web.i18n import language, translate
from card.credentials import SENTENCES, Reason
from card.transit import CaseView, FraudState, Liability, LiabilityReason, LineView, Place, ReplayReason
from portal.kit import journeys as words

ALARMS: Final = {
    "tap-conflict": msg("The same record came with other content"),
    "clock": msg("The clock is more than two minutes off"),
    "malformed": msg("A record could not be read"),
    "unknown-card": msg("The card is not known"),
    "other-card": msg("The code shown belongs to another card"),
    "code-too-old": msg("The code shown was too old"),
    "code-from-the-future": msg("The code shown was from the future"),
    "from-the-future": msg("The tap is dated in the future"),
    "replayed": msg("A code was shown twice"),
    "denied-card-accepted": msg("A blocked card was let through after the list was due"),
}
OTHER_ALARM: Final = msg("The evidence does not verify (%(code)s)")
_CASE_STATES: Final[dict[FraudState, tuple[str, str]]] = {
    FraudState.OPEN: (msg("To decide"), "wait"),
    FraudState.PREPARED: (msg("Waits for a second officer"), "wait"),
    FraudState.CONFIRMED: (msg("Copied"), "bad"),
    FraudState.DISMISSED: (msg("No fraud"), "good"),
}
_CASE_REASONS: Final = {
    ReplayReason.SAME_STATION: msg("Both taps were at one station, whose gates share what they have seen."),
    ReplayReason.OUT_OF_WINDOW: msg("The copied code was too old, and a gate let it through."),
    ReplayReason.DISCONNECTED: msg("The stations had no connection; no gate could have known."),
}
_LIABILITY: Final = {
    LiabilityReason.NOT_DENIED: msg("The card was good when it was tapped."),
    LiabilityReason.BEFORE_DEADLINE: msg("The card was blocked, but the list was not yet due at the gate."),
    LiabilityReason.HELD_LIST: msg("The gate had the list and let the card through."),
    LiabilityReason.AFTER_DEADLINE: msg("The list was due at the gate before this tap."),
}
BEARERS: Final = {Liability.ISSUER: msg("The city that issued the card"), Liability.OPERATOR: msg("The operator")}


def place(stop_id: str, line_id: str, stops: Mapping[str, Place], lines: Mapping[str, LineView]) -> str:
    """Where a terminal stands: its stop, or the line of its vehicle."""
    if stop_id:
        return words.stop_name(stops, stop_id)
    return words.named(lines[line_id].names) if line_id in lines else line_id


def alarm(kind: str) -> str:
    """An alarm in words."""
    return translate(ALARMS[kind]) if kind in ALARMS else translate(OTHER_ALARM, code=kind)


def refusal(code: str) -> str:
    """Why a tap was refused, or should have been, in words; nothing where it was not."""
    if not code:
        return ""
    if code in set(Reason):
        return SENTENCES[Reason(code)][language()]
    return alarm(code)


def case_state(found: CaseView) -> tuple[str, str]:
    """A case's state in words and its tone."""
    text, tone = _CASE_STATES[found.state]
    return translate(text), tone


def case_reason(found: CaseView) -> str:
    """Why the bearer of a copied code's ride bears it."""
    return translate(_CASE_REASONS[found.reason])


def liability_reason(reason: LiabilityReason) -> str:
    """Why an unpaid ride is whose it is."""
    return translate(_LIABILITY[reason])


def bearer(found: Liability) -> str:
    """Who bears it."""
    return translate(BEARERS[found])
