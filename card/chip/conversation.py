"""The terminal's side: what it says to a card and what it makes of the answers. Pure but for the way to the card.

Every step is one method. ``transmit`` carries one command and brings the answer; it raises :class:`CardGone` where none comes,
and then nobody knows whether the card carried it out. What each caller does about that is in ``card/validator/contactless.py``.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from card.chip import keys
from card.chip.apdu import AID, ANSWER_MAX, SECURED, Command, Ins, Status, answer_from, read_tlv
from card.chip.applet import (
    COUNTER_BYTES,
    PUT_ADMIN_KEY,
    PUT_CREDENTIAL,
    PUT_JOURNEY_KEY,
    PUT_NUMBER,
    RECORD_JOURNEY,
    RECORD_PROOF,
    SIGNATURE_BYTES,
    TAG_CREDENTIAL_BYTES,
    TAG_FCI,
    TAG_NUMBER,
    TAG_OWN,
)
from card.chip.journeys import RECORD_BYTES, Journey, journey_from
from card.chip.keys import MAC_BYTES, NONCE_BYTES, KeyUse
from card.credentials import CardNumber, present_chip

CHUNK: Final = 200

Transmit = Callable[[bytes], bytes]


class CardGone(Exception):
    """The card left the field, or no answer came: the command may have been carried out or not."""


class CardRefused(Exception):
    """The card answered with a status that is not 9000."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(f"{what}: {status:04X}")
        self.status = status


class CardIsWrong(Exception):
    """What answered does not know the card's key, or changed on the way: not a card of the city."""


def packed(number: str) -> bytes:
    """A card number as ten bytes: 19 decimal digits, two a byte, and an F."""
    return bytes.fromhex(number + "F")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """What the card says of itself at selection: its number, empty while it is blank, and its credential's length."""

    number: CardNumber
    packed: bytes
    credential_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LastCommit:
    """The newest journey on the card. ``ratified``: the terminal that wrote it went on speaking to the card."""

    counter: int
    ratified: bool
    record: bytes

    @property
    def journey(self) -> Journey | None:
        """The record's meaning; ``None`` for a form of later times."""
        return journey_from(self.record)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A record, the counter it was signed with, and the signature."""

    counter: int
    record: bytes
    signature: bytes

    def presentation(self, credential: bytes) -> bytes:
        """The evidence of the tap."""
        return present_chip(credential, record=self.record, counter=self.counter, signature=self.signature)


@dataclass(kw_only=True)
class _Session:
    key: bytes
    step: int = 0


class Conversation:
    """One field with one card."""

    def __init__(self, transmit: Transmit, *, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._transmit, self._random = transmit, random
        self._selected: Selected | None = None
        self._session: _Session | None = None

    def _ask(self, command: Command) -> bytes:
        answer = answer_from(self._transmit(command.encoded()))
        if answer.status != Status.OK:
            raise CardRefused(answer.status, Ins(command.ins).name)
        return answer.data

    def _ask_secured(self, ins: Ins, *, p1: int = 0, p2: int = 0, data: bytes = b"") -> bytes:
        session = self._session
        assert session is not None, "authenticate first"
        session.step += 1
        bare = Command(cla=SECURED, ins=ins, p1=p1, p2=p2)
        mac = keys.command_mac(session.key, step=session.step, header=bare.header, data=data)
        said = self._ask(Command(cla=SECURED, ins=ins, p1=p1, p2=p2, data=data + mac, expects=ANSWER_MAX))
        answer, theirs = said[:-MAC_BYTES], said[-MAC_BYTES:]
        if not hmac.compare_digest(theirs, keys.answer_mac(session.key, step=session.step, data=answer)):
            self._session = None
            raise CardIsWrong(f"{ins.name}: the answer's MAC")
        return answer

    # Anybody

    def select(self) -> Selected:
        """Select the application. Raises :class:`CardRefused` (6A82) where the card has none."""
        said = self._ask(Command(ins=Ins.SELECT, p1=0x04, data=AID, expects=ANSWER_MAX))
        own = read_tlv(read_tlv(read_tlv(said).get(TAG_FCI, b"")).get(TAG_OWN, b""))
        number, size = own.get(TAG_NUMBER, b""), own.get(TAG_CREDENTIAL_BYTES, b"")
        self._selected = Selected(
            number=CardNumber(number.hex().upper().rstrip("F")),
            packed=number,
            credential_bytes=int.from_bytes(size, "big"),
        )
        return self._selected

    def credential(self) -> bytes:
        """The city's signed credential, read in pieces; what it says is for :class:`card.credentials.Verifier`."""
        assert self._selected is not None, "select first"
        found = b""
        while len(found) < self._selected.credential_bytes:
            at = len(found)
            piece = self._ask(Command(ins=Ins.READ_BINARY, p1=at >> 8, p2=at & 0xFF, expects=ANSWER_MAX))
            if not piece:
                raise CardIsWrong("the credential is shorter than it said")
            found += piece
        return found

    def sign(self, record: bytes) -> Signed:
        """Internal authentication (PKI): the card signs ``record`` with its next counter; its journey stays as it was."""
        return _signed(self._ask(Command(ins=Ins.INTERNAL_AUTHENTICATE, data=record, expects=ANSWER_MAX)), record)

    # A terminal with the journey key

    def authenticate(self, key: bytes, use: KeyUse = KeyUse.JOURNEY) -> None:
        """Mutual authentication with this card's ``key``.

        Raises :class:`CardRefused` (6300) where our key is wrong and :class:`CardIsWrong` where the card's is.
        """
        assert self._selected is not None, "select first"
        number, nonce = self._selected.packed, self._random(NONCE_BYTES)
        theirs = self._ask(Command(ins=Ins.GET_CHALLENGE, expects=NONCE_BYTES))
        proof = keys.proof_of_terminal(key, card_nonce=theirs, terminal_nonce=nonce, number=number)
        said = self._ask(Command(ins=Ins.MUTUAL_AUTHENTICATE, p2=use, data=nonce + proof, expects=MAC_BYTES))
        if not hmac.compare_digest(said, keys.proof_of_card(key, card_nonce=theirs, terminal_nonce=nonce, number=number)):
            raise CardIsWrong("MUTUAL_AUTHENTICATE: the card's proof")
        self._session = _Session(key=keys.session_key(key, card_nonce=theirs, terminal_nonce=nonce))

    def last_commit(self) -> LastCommit | None:
        """The newest journey; ``None`` before the first."""
        try:
            said = self._ask_secured(Ins.READ_RECORD, p1=RECORD_JOURNEY)
        except CardRefused as refusal:
            if refusal.status == Status.RECORD_NOT_FOUND:
                return None
            raise
        record = said[COUNTER_BYTES + 1 :]
        return LastCommit(counter=int.from_bytes(said[:COUNTER_BYTES], "big"), ratified=said[COUNTER_BYTES] == 1, record=record)

    def commit(self, record: bytes) -> Signed:
        """Write ``record`` as the journey; the card counts, signs and answers. Until the next command it is not ratified."""
        return _signed(self._ask_secured(Ins.UPDATE_RECORD, p1=RECORD_JOURNEY, data=record), record)

    def proof(self) -> Signed:
        """The signature of the newest journey once more: for a terminal that never had the answer."""
        said = self._ask_secured(Ins.READ_RECORD, p1=RECORD_PROOF)
        record = said[COUNTER_BYTES : COUNTER_BYTES + RECORD_BYTES]
        return _signed(said[:COUNTER_BYTES] + said[COUNTER_BYTES + RECORD_BYTES :], record)

    def ratify(self) -> None:
        """Say anything at all: the card notes that its answer arrived. Whether this one arrives changes nothing here."""
        self._ask(Command(ins=Ins.GET_CHALLENGE, expects=NONCE_BYTES))

    # The bureau, and the city's desk

    def make_key(self) -> bytes:
        """Let a blank card make its key; the raw public half."""
        return self._ask(Command(ins=Ins.GENERATE_KEY, expects=ANSWER_MAX))

    def personalise(self, *, number: str, journey_key: bytes, admin_key: bytes, credential: bytes) -> None:
        """Make a blank card a card, whole or not at all; then read it back.

        Raises :class:`CardRefused` where it is a card already and :class:`CardIsWrong` where it does not hold what was written.
        """
        self._put(PUT_NUMBER, packed(number))
        self._put(PUT_JOURNEY_KEY, journey_key)
        self._put(PUT_ADMIN_KEY, admin_key)
        for at in range(0, len(credential), CHUNK):
            self._ask(Command(ins=Ins.UPDATE_BINARY, p1=at >> 8, p2=at & 0xFF, data=credential[at : at + CHUNK]))
        self._ask(Command(ins=Ins.ACTIVATE))
        if self.select().number != number or self.credential() != credential:
            raise CardIsWrong("what was written does not read back")

    def _put(self, place: int, data: bytes) -> None:
        self._ask(Command(ins=Ins.PUT_DATA, p1=place >> 8, p2=place & 0xFF, data=data))

    def renew(self, credential: bytes) -> None:
        """Replace the credential within a session of the admin key: the old one counts until the new one is whole."""
        for at in range(0, len(credential), CHUNK):
            self._ask_secured(Ins.UPDATE_BINARY, p1=at >> 8, p2=at & 0xFF, data=credential[at : at + CHUNK])
        self._ask_secured(Ins.PUT_DATA, p1=PUT_CREDENTIAL >> 8, p2=PUT_CREDENTIAL & 0xFF)


def _signed(said: bytes, record: bytes) -> Signed:
    if len(said) != COUNTER_BYTES + SIGNATURE_BYTES:
        raise CardIsWrong("a signature of another length")
    return Signed(counter=int.from_bytes(said[:COUNTER_BYTES], "big"), record=record, signature=said[COUNTER_BYTES:])
