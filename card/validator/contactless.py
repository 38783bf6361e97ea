"""A chip at the reader: one transaction from selection to ratification, and what a card torn out of the field leaves behind.

The order makes every tear harmless. The gate judges before it asks the card to commit, so what is refused is never on the card.
The card commits and signs in one write; the gate writes the tap before it speaks again, and only speaking ratifies. So a
ratified journey is always in the journal of some gate, and one that is not either is there too or was never let through. Held
again within a minute at the gate that lost the answer, the card gives the same signature once more: one commit, one tap.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from card.chip import (
    AID,
    CardGone,
    CardIsWrong,
    CardRefused,
    Conversation,
    Journey,
    KeyUse,
    LastCommit,
    Reader,
    Transmit,
    card_key,
    reference,
)
from card.credentials import CODE_AGE_MAX, TAP_USES, TapKind, present, to_text
from card.validator.terminal import Foreseen, Outcome, Terminal

SECURE_MODULE: Final = "secure-module.json"
NONCE_BYTES: Final = 8


def secure_module(home: Path) -> dict[str, bytes]:
    """The journey masters by issuing city, as the operator installed them; none means signatures only."""
    path = home / SECURE_MODULE
    if not path.exists():
        return {}
    return {str(city): bytes.fromhex(key) for city, key in json.loads(path.read_text()).items()}


class Contactless:
    """One terminal's dealings with chips."""

    def __init__(
        self,
        terminal: Terminal,
        masters: Mapping[str, bytes] | None = None,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """``masters``: the journey master of each issuing city that this terminal's secure module holds."""
        certificate = terminal.certificate
        self._terminal, self._random = terminal, random
        self._masters = dict(masters or {})
        self._own = reference(certificate.terminal_id)
        self._stop = reference(certificate.stop_id or certificate.line)

    def tap(self, transmit: Transmit, *, kind: TapKind | None = None) -> Outcome:
        """Decide on the card in the field and record it. Raises :class:`CardGone` where nobody was let through."""
        card = Conversation(transmit, random=self._random)
        try:
            selected = card.select()
        except CardRefused:
            return self._terminal.decide("", kind=kind)  # another card altogether is no tap
        if not selected.number:
            return self._terminal.decide("", kind=kind)
        credential = card.credential()
        foreseen = self._terminal.foresee(credential, kind=kind)
        if not foreseen.authentic or foreseen.number != selected.number:
            return self._decide(present(credential), kind)
        try:
            last = self._open(card, foreseen, selected.packed)
            if last is not None and (recovered := self._recover(card, credential, last[0], foreseen)) is not None:
                return recovered
            record = Journey(
                kind=foreseen.kind,
                at=foreseen.at,
                terminal=self._own,
                stop=self._stop,
                nonce=self._random(NONCE_BYTES),
            ).encoded()
            commits = last is not None and foreseen.reason is None
            signed = card.commit(record) if commits else card.sign(record)
        except (CardIsWrong, CardRefused):
            return self._decide(present(credential), foreseen.kind)
        outcome = self._decide(signed.presentation(credential), foreseen.kind)
        if commits:
            self._ratify(card)
        return outcome

    def _decide(self, presentation: bytes, kind: TapKind | None) -> Outcome:
        return self._terminal.decide(to_text(presentation), kind=kind, uses=TAP_USES)

    def _open(self, card: Conversation, foreseen: Foreseen, number: bytes) -> tuple[LastCommit | None] | None:
        """Authenticate and read the journey; ``None`` where this terminal and this card share no key: a signature will do."""
        master = self._masters.get(foreseen.issuer)
        if master is None:
            return None
        try:
            card.authenticate(card_key(master, number, AID, KeyUse.JOURNEY))
        except CardRefused:
            return None
        return (card.last_commit(),)

    def _recover(self, card: Conversation, credential: bytes, last: LastCommit | None, foreseen: Foreseen) -> Outcome | None:
        """The tap whose answer this terminal never had, if that is what the card carries."""
        journey = last.journey if last is not None and not last.ratified else None
        if last is None or journey is None or journey.terminal != self._own:
            return None
        if not timedelta() <= foreseen.at - journey.at <= CODE_AGE_MAX:
            return None
        if self._terminal.foresee(credential, counter=last.counter, kind=journey.kind).reason is not None:
            return None  # it is in the journal, or would be refused today
        proof = card.proof()
        if proof.record != last.record or proof.counter != last.counter:
            raise CardIsWrong("the proof is of another journey")
        outcome = self._decide(proof.presentation(credential), journey.kind)
        self._ratify(card)
        return outcome

    def _ratify(self, card: Conversation) -> None:
        with suppress(CardGone, CardRefused):  # the tap is written: whether the card hears of it changes nothing
            card.ratify()


def serve(
    terminal: Terminal,
    *,
    home: Path,
    reader: str,
    once: bool,
    kind: TapKind | None,
    say: Callable[[Outcome | None], None],
) -> None:
    """Serve card after card at a PC/SC reader, or one with ``once``; ``say`` hears each outcome, ``None`` for "again"."""
    contactless = Contactless(terminal, secure_module(home))
    with Reader(reader) as found:
        while True:
            found.wait(present=True)
            try:
                with found.field() as field:
                    outcome = contactless.tap(field.transmit, kind=kind)
            except CardGone:
                say(None)
                continue
            say(outcome)
            if once:
                return
            found.wait(present=False)
