"""The card: a state machine from command bytes to answer bytes over a memory that survives losing power.

*Personalised* once in the bureau (number, two keys, the city's credential; it makes its Ed25519 key itself and never gives
it out). From then on anybody may read the credential and ask for a signature, as of a phone's code; the journey is read and
written only by a terminal that proved the journey key, under session MACs; the credential is renewed only by the city's admin
key.

*Anti-tear*: a commit changes journey, counter and signature together or not at all (:class:`~card.chip.memory.Slots`).
*Ratification*: a commit is marked as seen once the terminal speaks again in the same field. A commit without that mark says:
the terminal may never have had the answer, and may ask for the signature again.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from card.chip import keys
from card.chip.apdu import AID, ANSWER_MAX, PLAIN, SECURED, Answer, Command, Ins, Status, command_from, tlv
from card.chip.journeys import RECORD_BYTES
from card.chip.keys import KEY_BYTES, MAC_BYTES, NONCE_BYTES, KeyUse
from card.chip.memory import Memory, Slots
from card.credentials import chip_dynamic, chip_message

HISTORY: Final = b"CCARD1"
NUMBER_BYTES: Final = 10
SIGNATURE_BYTES: Final = 64
COUNTER_BYTES: Final = 4
SEED_BYTES: Final = 32
STATIC_MAX: Final = 1000
FORM: Final = 1

PUT_NUMBER: Final = 0x0001
PUT_JOURNEY_KEY: Final = 0x0101
PUT_ADMIN_KEY: Final = 0x0102
PUT_CREDENTIAL: Final = 0x0200  # make what UPDATE BINARY staged the credential
RECORD_JOURNEY: Final = 1
RECORD_PROOF: Final = 2
TAG_FCI: Final = 0x6F
TAG_AID: Final = 0x84
TAG_OWN: Final = 0xA5
TAG_NUMBER: Final = 0xC1
TAG_FORM: Final = 0xC2
TAG_CREDENTIAL_BYTES: Final = 0xC3


def _atr(history: bytes) -> bytes:
    """Answer to reset (ISO/IEC 7816-3, section 8.2): direct convention, T=1, historical bytes, check byte."""
    body = bytes([0x80 | len(history), 0x80, 0x01]) + history
    return b"\x3b" + body + bytes([reduce(xor, body)])


ATR: Final = _atr(HISTORY)


@dataclass(kw_only=True)
class _Session:
    """One mutual authentication: its key, what it opens, and how many secured commands it has seen."""

    key: bytes
    use: KeyUse
    step: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Identity:
    """What personalisation wrote for good."""

    number: bytes
    journey_key: bytes
    admin_key: bytes
    seed: bytes

    def encoded(self) -> bytes:
        return self.number + self.journey_key + self.admin_key + self.seed

    @property
    def signer(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


class _Refused(Exception):
    """A command that is not carried out, with its status."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class Applet:
    """The application over one memory. :meth:`power` begins a field, :meth:`process` answers one command."""

    def __init__(self, memory: Memory, *, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random = random
        self._identity_slots = Slots(memory, 0, 128)
        self._journey_slots = Slots(memory, 256, 128)
        self._ratified_slots = Slots(memory, 512, 32)
        self._static_slots = Slots(memory, 1024, 1024)
        self._identity = self._read_identity()
        self.power()

    def _read_identity(self) -> _Identity | None:
        _, raw = self._identity_slots.current()
        if not raw:
            return None
        ends = (NUMBER_BYTES, NUMBER_BYTES + KEY_BYTES, NUMBER_BYTES + 2 * KEY_BYTES)
        return _Identity(
            number=raw[: ends[0]], journey_key=raw[ends[0] : ends[1]], admin_key=raw[ends[1] : ends[2]], seed=raw[ends[2] :]
        )

    def power(self) -> bytes:
        """Enter a field: everything but the memory is forgotten. The answer to reset."""
        self._selected = False
        self._nonce = b""
        self._session: _Session | None = None
        self._unseen = False  # a signature was sent that the terminal has not shown to have
        self._staged: dict[int, bytes] = {}
        self._staged_static = bytearray()
        return ATR

    def process(self, raw: bytes) -> bytes:
        """Answer one command. Raises :class:`~card.chip.memory.PowerLost` where the memory loses power meanwhile."""
        if self._unseen:
            self._unseen = False
            self._ratified_slots.replace(self._journey()[0])
        command = command_from(raw)
        if command is None:
            return Answer(status=Status.WRONG_LENGTH).encoded()
        nonce, self._nonce = self._nonce, b""  # a challenge is good for the next command only
        try:
            return Answer(status=Status.OK, data=self._answer(command, nonce)).encoded()
        except _Refused as refusal:
            return Answer(status=refusal.status).encoded()

    def _answer(self, command: Command, nonce: bytes) -> bytes:
        if command.cla not in (PLAIN, SECURED):
            raise _Refused(Status.UNKNOWN_CLASS)
        if command.ins == Ins.SELECT:
            return self._select(command)
        if not self._selected:
            raise _Refused(Status.NOT_ALLOWED)
        return self._secured(command) if command.cla == SECURED else self._plain(command, nonce)

    def _plain(self, command: Command, nonce: bytes) -> bytes:
        match command.ins:
            case Ins.READ_BINARY:
                return self._read_binary(command)
            case Ins.GET_CHALLENGE:
                self._nonce = self._random(NONCE_BYTES)
                return self._nonce
            case Ins.MUTUAL_AUTHENTICATE:
                return self._authenticate(command, nonce)
            case Ins.INTERNAL_AUTHENTICATE:
                return self._sign(command.data, commit=False)
            case Ins.GENERATE_KEY | Ins.PUT_DATA | Ins.UPDATE_BINARY | Ins.ACTIVATE:
                return self._personalise(command)
        known = command.ins in (Ins.READ_RECORD, Ins.UPDATE_RECORD)
        raise _Refused(Status.SECURITY if known else Status.UNKNOWN_INSTRUCTION)

    # What anybody may ask

    def _select(self, command: Command) -> bytes:
        self._selected, self._session = False, None
        if command.p1 != 0x04 or command.data != AID:  # noqa: PLR2004  by name (ISO/IEC 7816-4, table 39)
            raise _Refused(Status.NOT_FOUND)
        self._selected = True
        number = self._identity.number if self._identity else b""
        size = len(self._static_slots.current()[1]).to_bytes(2, "big")
        own = tlv(TAG_NUMBER, number) + tlv(TAG_FORM, bytes([FORM])) + tlv(TAG_CREDENTIAL_BYTES, size)
        return tlv(TAG_FCI, tlv(TAG_AID, AID) + tlv(TAG_OWN, own))

    def _read_binary(self, command: Command) -> bytes:
        _, static = self._static_slots.current()
        offset = command.p1 << 8 | command.p2
        if offset >= len(static):
            raise _Refused(Status.WRONG_PARAMETERS)
        return static[offset : offset + (command.expects or ANSWER_MAX)]

    def _known(self) -> _Identity:
        if self._identity is None:
            raise _Refused(Status.NOT_ALLOWED)
        return self._identity

    def _authenticate(self, command: Command, nonce: bytes) -> bytes:
        identity = self._known()
        self._session = None
        if not nonce or len(command.data) != NONCE_BYTES + MAC_BYTES:
            raise _Refused(Status.NOT_ALLOWED if not nonce else Status.WRONG_LENGTH)
        if command.p2 not in (KeyUse.JOURNEY, KeyUse.ADMIN):
            raise _Refused(Status.WRONG_PARAMETERS)
        use = KeyUse(command.p2)
        key = identity.journey_key if use is KeyUse.JOURNEY else identity.admin_key
        theirs, proof = command.data[:NONCE_BYTES], command.data[NONCE_BYTES:]
        wanted = keys.proof_of_terminal(key, card_nonce=nonce, terminal_nonce=theirs, number=identity.number)
        if not hmac.compare_digest(proof, wanted):
            raise _Refused(Status.AUTHENTICATION_FAILED)
        self._session = _Session(key=keys.session_key(key, card_nonce=nonce, terminal_nonce=theirs), use=use)
        return keys.proof_of_card(key, card_nonce=nonce, terminal_nonce=theirs, number=identity.number)

    # The journey

    def _journey(self) -> tuple[bytes, bytes, bytes]:
        """``(counter of the commit, record, signature)``; empty before the first."""
        _, value = self._journey_slots.current()
        record_ends = COUNTER_BYTES + RECORD_BYTES
        return value[:COUNTER_BYTES], value[COUNTER_BYTES:record_ends], value[record_ends:]

    def _sign(self, record: bytes, *, commit: bool) -> bytes:
        """Count one up, sign ``record`` with the count, and with ``commit`` keep it as the journey: in one write."""
        identity = self._known()
        if len(record) != RECORD_BYTES:
            raise _Refused(Status.WRONG_LENGTH)
        number, value = self._journey_slots.current()
        counter = number + 1
        _, static = self._static_slots.current()
        signature = identity.signer.sign(chip_message(static, chip_dynamic(record, counter=counter)))
        counted = counter.to_bytes(COUNTER_BYTES, "big")
        self._journey_slots.replace(counted + record + signature if commit else value)
        self._unseen = commit
        return counted + signature

    # What a session may do

    def _secured(self, command: Command) -> bytes:
        session = self._session
        if session is None:
            raise _Refused(Status.SECURITY)
        session.step += 1
        data, mac = command.data[:-MAC_BYTES], command.data[-MAC_BYTES:]
        wanted = keys.command_mac(session.key, step=session.step, header=command.header, data=data)
        if not hmac.compare_digest(mac, wanted):
            self._session = None
            raise _Refused(Status.WRONG_MAC)
        answer = self._inside(command, data, session.use)
        return answer + keys.answer_mac(session.key, step=session.step, data=answer)

    def _inside(self, command: Command, data: bytes, use: KeyUse) -> bytes:
        match command.ins, use:
            case Ins.READ_RECORD, KeyUse.JOURNEY:
                return self._read_record(command.p1)
            case Ins.UPDATE_RECORD, KeyUse.JOURNEY:
                return self._sign(data, commit=True)
            case (Ins.UPDATE_BINARY, KeyUse.ADMIN) | (Ins.PUT_DATA, KeyUse.ADMIN):
                return self._stage(command, data)
            case _:
                raise _Refused(Status.SECURITY)

    def _read_record(self, which: int) -> bytes:
        counted, record, signature = self._journey()
        if not counted:
            raise _Refused(Status.RECORD_NOT_FOUND)
        if which == RECORD_JOURNEY:
            return counted + bytes([self._ratified_slots.current()[1] == counted]) + record
        if which == RECORD_PROOF:
            self._unseen = True
            return counted + record + signature
        raise _Refused(Status.RECORD_NOT_FOUND)

    # Personalisation, and renewal of the credential

    def _personalise(self, command: Command) -> bytes:
        if self._identity is not None:
            raise _Refused(Status.SECURITY)
        if command.ins == Ins.GENERATE_KEY:
            seed = self._staged[-1] = self._random(SEED_BYTES)
            signer = Ed25519PrivateKey.from_private_bytes(seed)
            return signer.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if command.ins == Ins.ACTIVATE:
            return self._activate()
        return self._stage(command, command.data)

    def _stage(self, command: Command, data: bytes) -> bytes:
        place = command.p1 << 8 | command.p2
        if command.ins == Ins.UPDATE_BINARY:
            if place != len(self._staged_static) or place + len(data) > STATIC_MAX:
                raise _Refused(Status.WRONG_PARAMETERS)
            self._staged_static += data
            return b""
        sizes = {PUT_NUMBER: NUMBER_BYTES, PUT_JOURNEY_KEY: KEY_BYTES, PUT_ADMIN_KEY: KEY_BYTES}
        if self._identity is not None and place == PUT_CREDENTIAL and self._staged_static:
            self._static_slots.replace(bytes(self._staged_static))
            self._staged_static.clear()
            return b""
        if self._identity is not None or place not in sizes:
            raise _Refused(Status.WRONG_PARAMETERS)
        if len(data) != sizes[place]:
            raise _Refused(Status.WRONG_LENGTH)
        self._staged[place] = data
        return b""

    def _activate(self) -> bytes:
        """Make it a card. The identity is written last: a bureau that loses power starts again with a blank card."""
        wanted = (PUT_NUMBER, PUT_JOURNEY_KEY, PUT_ADMIN_KEY, -1)
        if any(place not in self._staged for place in wanted) or not self._staged_static:
            raise _Refused(Status.NOT_ALLOWED)
        number, journey_key, admin_key, seed = (self._staged[place] for place in wanted)
        made = _Identity(number=number, journey_key=journey_key, admin_key=admin_key, seed=seed)
        self._static_slots.replace(bytes(self._staged_static))
        self._identity_slots.replace(made.encoded())
        self._identity = made
        self._staged.clear()
        self._staged_static.clear()
        return b""
