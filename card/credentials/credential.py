"""What a phone shows at a gate: a static part signed by the city and a dynamic part signed by the phone.

*Static*: COSE_Sign1 by the issuing city over number, validity, entitlements (each with its scope and expiry), status index and
the phone's public key. *Dynamic*: ``[time, counter]`` signed by the phone over domain ‖ static ‖ dynamic, renewed every few
seconds. Both together travel as ``CC1:`` and Base45 (RFC 9285), which an alphanumeric QR carries at 5.5 bits a character.
"""

import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum, StrEnum
from threading import Lock
from typing import Any, Final, NamedTuple

import base45

from card.credentials import card_number, cose, wire
from card.credentials.card_number import CardNumber
from card.credentials.cose import ALLOWED, Algorithm, Sign1
from card.credentials.keys import KeyRing, PrivateKey, key_id, public_from_raw, public_of, raw_public
from card.credentials.reasons import CredentialRefused, Reason

PREFIX: Final = "CC1:"
FAMILY: Final = re.compile(r"CC[0-9]{1,2}:")  # ours, of whatever version
DOMAIN: Final = b"citizen-card/dynamic/1\x00"
CHIP_DOMAIN: Final = b"citizen-card/chip/1\x00"
CHIP_RECORD_BYTES: Final = 32
TEXT_MAX: Final = 2048

CODE_AGE_MAX: Final = timedelta(seconds=60)
CODE_AHEAD_MAX: Final = timedelta(seconds=30)
CODE_AGE_MIN: Final = -CODE_AHEAD_MAX

EPOCH: Final = date(1970, 1, 1)


class Use(IntEnum):
    """What a credential is for."""

    PHONE = 0  # bound to a phone's key; for gates
    KIOSK = 1  # one layer, signed by the city for a few minutes; for a kiosk's screen or a feature phone; for gates
    PRINTED = 2  # one layer, valid long; for desks and inspection, never for gates
    CHIP = 3  # bound to a chip's key, which signs a terminal's own record; never as a QR


GATE_USES: Final = frozenset({Use.PHONE, Use.KIOSK})  # what a gate takes from its scanner
TAP_USES: Final = GATE_USES | {Use.CHIP}  # what a tap may rest on: also a chip that the gate's reader spoke with
_TWO_LAYERS: Final = frozenset({Use.PHONE, Use.CHIP})


class EntitlementCode(StrEnum):
    """Entitlements known to every city. A city may add codes of its own: they travel as text."""

    SENIOR_60 = "senior-60"
    SENIOR_70 = "senior-70"
    STUDENT = "student"
    DISABLED = "disabled"
    VETERAN = "veteran"
    MONTH_PASS_20 = "month-pass-20"  # noqa: S105  a travel pass
    MONTH_PASS_30 = "month-pass-30"  # noqa: S105  a travel pass
    MONTH_PASS_50 = "month-pass-50"  # noqa: S105  a travel pass
    DAY_PASS = "day-pass"  # noqa: S105  a travel pass


_NUMBER_OF_CODE: Final[dict[str, int]] = {code.value: number for number, code in enumerate(EntitlementCode)}
_CODE_OF_NUMBER: Final = {number: code for code, number in _NUMBER_OF_CODE.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entitlement:
    """A right of the holder: where it holds (a city's code, or a province's ending in 0000) and its last civil day."""

    code: str
    scope_city: str
    expires_on: date

    def holds(self, city: str, on: date) -> bool:
        """Whether it may be used in ``city`` on the civil day ``on``."""
        in_scope = self.scope_city == city or (self.scope_city.endswith("0000") and self.scope_city[:2] == city[:2])
        return in_scope and on <= self.expires_on


@dataclass(frozen=True, kw_only=True, slots=True)
class Static:
    """The part signed by the city. ``device_key`` is the phone's raw public key, empty for one-layer uses."""

    issuer: str
    number: CardNumber
    issued_at: datetime
    expires_at: datetime
    status_index: int
    entitlements: tuple[Entitlement, ...] = ()
    device_key: bytes = b""
    use: Use = Use.PHONE


class Presentation(NamedTuple):
    """A verified presentation of a card. ``counter`` strictly rises per ``device_kid`` (0 and empty for one-layer uses).

    ``record`` is what the terminal let a chip sign (``card.chip.Journey``), empty for a QR.
    """

    static: Static
    issuer_kid: bytes
    device_kid: bytes
    shown_at: datetime
    counter: int
    raw: bytes
    record: bytes = b""

    @property
    def number(self) -> CardNumber:
        """The card's number."""
        return self.static.number

    @property
    def replay_key(self) -> bytes:
        """Whose counter this is: the phone's key, or for one-layer uses the credential itself."""
        return self.device_kid or b"card" + int(self.static.number).to_bytes(8, "big")


_made: Final = tuple.__new__  # a presentation without the detour of a named tuple's own constructor
_ISSUER, _NUMBER, _EXPIRES, _ISSUED, _DEVICE, _ENTITLEMENTS, _STATUS, _USE = 1, 2, 4, 6, 8, -1, -2, -3


def sign_static(static: Static, key: PrivateKey, *beside: PrivateKey) -> Sign1:
    """The static part signed with the issuing city's key; with keys ``beside`` it, a COSE_Sign with one signature by each."""
    assert static.issuer == card_number.issuing_city(static.number), "a city signs its own cards"
    assert (static.use in _TWO_LAYERS) == bool(static.device_key), "a phone's or chip's credential names its key"
    claims: dict[int, Any] = {
        _ISSUER: int(static.issuer),
        _NUMBER: int(static.number),
        _ISSUED: int(static.issued_at.timestamp()),
        _EXPIRES: int(static.expires_at.timestamp()),
        _STATUS: static.status_index,
    }
    if static.device_key:
        claims[_DEVICE] = static.device_key
    if static.use is not Use.PHONE:
        claims[_USE] = int(static.use)
    if static.entitlements:
        claims[_ENTITLEMENTS] = [
            [_NUMBER_OF_CODE.get(held.code, held.code), int(held.scope_city), (held.expires_on - EPOCH).days]
            for held in static.entitlements
        ]
    if beside:
        return Sign1(cose.sign_together([key, *beside], wire.write(claims)))
    return cose.sign(key, wire.write(claims), kid=key_id(raw_public(public_of(key))))


def _static_from(payload: bytes) -> Static:
    """A static part from its claims; refuses as ``malformed``."""
    claims = wire.read(payload)
    try:
        return Static(
            issuer=f"{wire.field(claims, _ISSUER, int):06d}",
            number=card_number.parse(str(wire.field(claims, _NUMBER, int))),
            issued_at=datetime.fromtimestamp(wire.field(claims, _ISSUED, int), tz=UTC),
            expires_at=datetime.fromtimestamp(wire.field(claims, _EXPIRES, int), tz=UTC),
            status_index=wire.field(claims, _STATUS, int),
            entitlements=tuple(_entitlement(entry) for entry in claims.get(_ENTITLEMENTS, ())),
            device_key=wire.field(claims, _DEVICE, bytes) if _DEVICE in claims else b"",
            use=Use(claims.get(_USE, 0)),
        )
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise CredentialRefused(Reason.MALFORMED, f"static part: {error}") from error


def _entitlement(entry: object) -> Entitlement:
    match entry:
        case [int() | str() as code, int() as scope, int() as day]:
            known = code if isinstance(code, str) else _CODE_OF_NUMBER.get(code, f"unknown-{code}")
            return Entitlement(code=known, scope_city=f"{scope:06d}", expires_on=EPOCH + timedelta(days=day))
        case _:
            raise CredentialRefused(Reason.MALFORMED, "entitlement")


def dynamic_part(*, at: datetime, counter: int) -> bytes:
    """``[unix time, counter]`` as the phone signs and sends it."""
    return wire.write([int(at.timestamp()), counter])


def dynamic_message(static: bytes, dynamic: bytes) -> bytes:
    """What the phone signs: the domain, so that no other signature can be passed off as this one, then both parts."""
    return DOMAIN + static + dynamic


def chip_dynamic(record: bytes, *, counter: int) -> bytes:
    """``[unix time, counter, record]`` as a chip signs it; the time is the record's own (bytes 2 to 5)."""
    return wire.write([int.from_bytes(record[2:6], "big"), counter, record])


def chip_message(static: bytes, dynamic: bytes) -> bytes:
    """What a chip signs: a domain of its own, so that no chip's signature passes for a phone's."""
    return CHIP_DOMAIN + static + dynamic


def present_chip(static: bytes, *, record: bytes, counter: int, signature: bytes) -> bytes:
    """The bytes of a chip's presentation: the evidence of a tap, in the same form as a phone's."""
    return wire.write([static, chip_dynamic(record, counter=counter), signature])


def present(static: bytes, *, device: PrivateKey | None = None, at: datetime | None = None, counter: int = 0) -> bytes:
    """The bytes of a presentation: two layers with the phone's key, ``at`` and ``counter``; one layer without."""
    if device is None:
        return wire.write([static])
    assert at is not None, "a phone says when"
    dynamic = dynamic_part(at=at, counter=counter)
    return wire.write([static, dynamic, cose.raw_sign(device, dynamic_message(static, dynamic))])


def to_text(presentation: bytes) -> str:
    """The text of the QR."""
    return PREFIX + base45.b45encode(presentation).decode()


def from_text(text: str) -> bytes:
    """The bytes behind a QR's text. A scanner's line end is ignored; a space is a Base45 character and is not.

    Refuses as ``not-a-credential`` (another QR), ``unknown-version`` (ours, in a form of other times) or ``malformed``.
    """
    line = text.rstrip("\r\n")
    if not line.startswith(PREFIX):
        raise CredentialRefused(Reason.UNKNOWN_VERSION if FAMILY.match(line) else Reason.NOT_A_CREDENTIAL)
    if len(line) > TEXT_MAX:
        raise CredentialRefused(Reason.MALFORMED, "too long")
    return _from_base45(line[len(PREFIX) :])


_BASE45: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_VALUES: Final = bytes(_BASE45.find(code) if code in _BASE45 else 255 for code in range(256))
_PAIR_MAX: Final = 0xFFFF


def _from_base45(text: str) -> bytes:
    """RFC 9285, by whole columns: a tenth of the time of a digit at a time, and a gate does it for every tap."""
    try:
        digits = text.encode("ascii").translate(_VALUES)
    except UnicodeEncodeError as error:
        raise CredentialRefused(Reason.MALFORMED, "not Base45") from error
    whole = len(digits) - len(digits) % 3
    pairs = [
        low + 45 * middle + 2025 * high
        for low, middle, high in zip(digits[0:whole:3], digits[1:whole:3], digits[2:whole:3], strict=True)
    ]
    rest = digits[whole:]
    last = rest[0] + 45 * rest[1] if len(rest) == 2 else 0  # noqa: PLR2004  two digits are one byte
    if len(rest) == 1 or last > 0xFF or max(pairs, default=0) > _PAIR_MAX or 255 in digits:  # noqa: PLR2004
        raise CredentialRefused(Reason.MALFORMED, "not Base45")
    return struct.pack(f">{len(pairs)}H", *pairs) + bytes([last] if rest else [])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Familiar:
    """A static part whose signatures held, by which keys, and the key that its device signs with."""

    static: Static
    kids: tuple[bytes, ...]
    device_kid: bytes
    algorithm: Algorithm | None  # of the device's key
    verifies: cose.Verifies | None
    message: Callable[[bytes, bytes], bytes]  # what it signs, of static and dynamic part
    begins: datetime


class Verifier:
    """Verifies presentations under a ring of issuer keys and remembers static parts whose city's signature held.

    One per process: threads share what it remembers. At most ``remember`` static parts are kept, the least recently used go.
    """

    def __init__(self, issuer_keys: KeyRing, *, algorithms: frozenset[Algorithm] = ALLOWED, remember: int = 4096) -> None:
        self._keys, self._algorithms, self._remember = issuer_keys, algorithms, remember
        self._known: OrderedDict[bytes, _Familiar] = OrderedDict()
        self._turn = Lock()

    def verify_text(self, text: str, *, now: datetime, uses: frozenset[Use] = GATE_USES) -> Presentation:
        """As :meth:`verify`, from the text of a QR."""
        return self.verify(from_text(text), now=now, uses=uses)

    def verify(self, raw: bytes, *, now: datetime, uses: frozenset[Use] = GATE_USES) -> Presentation:
        """The presentation behind ``raw`` at the instant ``now``; raises ``CredentialRefused`` with its reason.

        Order: form, issuer's key, issuer's signature, validity, use, phone's signature, window of -30 to +60 seconds.
        """
        signed, dynamic, signature = _layers(raw)
        familiar = self._static(signed, now=now)
        static, kid = familiar.static, familiar.kids[0]
        _in_force(familiar, now=now, uses=uses)
        if not static.device_key:
            if dynamic is not None:
                raise CredentialRefused(Reason.DEVICE_SIGNATURE_UNEXPECTED)
            return Presentation(static=static, issuer_kid=kid, device_kid=b"", shown_at=static.issued_at, counter=0, raw=raw)
        if dynamic is None:
            raise CredentialRefused(Reason.DEVICE_SIGNATURE_MISSING)
        shown_at, counter, record = self._dynamic(familiar, signed, dynamic, signature)
        age = now - shown_at
        if not CODE_AGE_MIN <= age <= CODE_AGE_MAX:
            if age < CODE_AGE_MIN:
                raise CredentialRefused(Reason.CODE_FROM_THE_FUTURE, f"{-age} ahead")
            raise CredentialRefused(Reason.CODE_TOO_OLD, f"{age} old")
        return _made(Presentation, (static, kid, familiar.device_kid, shown_at, counter, raw, record))

    def static(self, signed: bytes, *, now: datetime, uses: frozenset[Use] = TAP_USES) -> Static:
        """The static part alone, as a chip gives it before it signs: authentic, in force, and of a use that is taken."""
        found = self._static(signed, now=now)
        _in_force(found, now=now, uses=uses)
        return found.static

    def _static(self, signed: bytes, *, now: datetime) -> "_Familiar":
        """The static part and the ids of the keys that signed it: all that are there, and all that the ring demands."""
        with self._turn:
            known = self._known.get(signed)
            if known is not None:
                self._known.move_to_end(signed)
        if known is not None:
            for kid in known.kids:
                self._keys.find(known.static.issuer, kid, now=now)  # a key may have been retired since
            return known
        messages = cose.parse_all(signed)
        claimed = _static_from(messages[0].payload)
        kids = tuple(message.kid for message in messages)
        if len(set(kids)) < len(kids):
            raise CredentialRefused(Reason.MALFORMED, "two signatures by one key")
        keys = [self._keys.find(claimed.issuer, kid, now=now) for kid in kids]
        for key in keys:
            if key.beside and key.beside not in kids:
                raise CredentialRefused(Reason.ISSUER_SIGNATURE_MISSING, key.beside.hex())
        for message, key in zip(messages, keys, strict=True):
            cose.check(message, key.key, algorithms=self._algorithms, refusal=Reason.BAD_ISSUER_SIGNATURE)
        if card_number.issuing_city(claimed.number) != claimed.issuer:
            raise CredentialRefused(Reason.WRONG_ISSUER, claimed.issuer)
        device = public_from_raw(claimed.device_key) if claimed.device_key else None
        familiar = _Familiar(
            static=claimed,
            kids=kids,
            device_kid=key_id(claimed.device_key) if device else b"",
            algorithm=cose.algorithm_of(device) if device else None,
            verifies=cose.verifying(device) if device else None,
            message=chip_message if claimed.use is Use.CHIP else dynamic_message,
            begins=claimed.issued_at - CODE_AHEAD_MAX,
        )
        with self._turn:
            self._known[signed] = familiar
            if len(self._known) > self._remember:
                self._known.popitem(last=False)
        return familiar

    def _dynamic(self, familiar: "_Familiar", signed: bytes, dynamic: bytes, signature: bytes) -> tuple[datetime, int, bytes]:
        """``(time, counter, record)`` once the device's signature holds; the record is a chip's."""
        assert familiar.verifies is not None, "a credential with a dynamic part names its device"
        if familiar.algorithm not in self._algorithms:
            raise CredentialRefused(Reason.ALGORITHM_NOT_ALLOWED, "the phone's key")
        if not familiar.verifies(signature, familiar.message(signed, dynamic)):
            raise CredentialRefused(Reason.BAD_DEVICE_SIGNATURE)
        match wire.read(dynamic), familiar.static.use:
            case [int() as seconds, int() as counter], Use.PHONE if counter >= 0:
                record = b""
            case [int() as seconds, int() as counter, bytes() as record], Use.CHIP if (
                counter >= 0 and len(record) == CHIP_RECORD_BYTES and int.from_bytes(record[2:6], "big") == seconds
            ):
                pass
            case _:
                raise CredentialRefused(Reason.MALFORMED, "dynamic part")
        try:
            return datetime.fromtimestamp(seconds, tz=UTC), counter, record
        except (ValueError, OverflowError, OSError) as error:
            raise CredentialRefused(Reason.MALFORMED, "time") from error


def _layers(raw: bytes) -> tuple[bytes, bytes | None, bytes]:
    """Static part, dynamic part (none for one-layer uses) and its signature, as they were shown."""
    match wire.read(raw):
        case [bytes() as signed, bytes() as dynamic, bytes() as signature]:
            return signed, dynamic, signature
        case [bytes() as signed]:
            return signed, None, b""
    raise CredentialRefused(Reason.MALFORMED, "presentation")


def _in_force(familiar: _Familiar, *, now: datetime, uses: frozenset[Use]) -> None:
    static = familiar.static
    if now < familiar.begins:
        raise CredentialRefused(Reason.NOT_YET_VALID)
    if now >= static.expires_at:
        raise CredentialRefused(Reason.EXPIRED)
    if static.use not in uses:
        raise CredentialRefused(Reason.USE_NOT_ACCEPTED, static.use.name)


def verify(
    text: str,
    *,
    issuer_keys: KeyRing | Mapping[str, Iterable[Sequence[Any]]],
    now: datetime,
    uses: frozenset[Use] = GATE_USES,
) -> Presentation:
    """Verify the text of one QR under ``{city: [(kid, raw key)]}``; see :meth:`Verifier.verify`."""
    ring = issuer_keys if isinstance(issuer_keys, KeyRing) else KeyRing.of(issuer_keys)
    return Verifier(ring, remember=1).verify_text(text, now=now, uses=uses)
