"""A personalised card for tests, without a city."""

from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from card.chip import AID, Applet, CardGone, Conversation, Journey, KeyUse, Memory, PowerLost, card_key, packed, reference
from card.credentials import Static, TapKind, Use, numbers, sign_static

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
CITY = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
MASTER = b"m" * 16
ADMIN = b"a" * 16
NUMBER = numbers.make("320100", 17)
JOURNEY_KEY = card_key(MASTER, packed(NUMBER), AID, KeyUse.JOURNEY)
ADMIN_KEY = card_key(ADMIN, packed(NUMBER), AID, KeyUse.ADMIN)


def credential(
    public_key: bytes,
    *,
    at: datetime = NOW,
    status_index: int = 7,
    number: str = NUMBER,
    issuer_key: Ed25519PrivateKey = CITY,
) -> bytes:
    """What the city signs for the chip's key."""
    return sign_static(
        Static(
            issuer="320100",
            number=numbers.parse(number),
            issued_at=at - timedelta(days=1),
            expires_at=at + timedelta(days=364),
            status_index=status_index,
            device_key=public_key,
            use=Use.CHIP,
        ),
        issuer_key,
    )


def personalised(*, number: str = NUMBER, journey_key: bytes | None = None, **facts: object) -> bytes:
    """The memory of a card that left the bureau."""
    memory = Memory()
    chip = Conversation(Applet(memory).process)
    chip.select()
    public = chip.make_key()
    chip.personalise(
        number=number,
        journey_key=journey_key or card_key(MASTER, packed(number), AID, KeyUse.JOURNEY),
        admin_key=card_key(ADMIN, packed(number), AID, KeyUse.ADMIN),
        credential=credential(public, number=number, **facts),  # type: ignore[arg-type]
    )
    return memory.image


def record(*, kind: TapKind = TapKind.ENTRY, at: datetime = NOW, nonce: bytes = b"n" * 8, terminal: str = "T1") -> bytes:
    """A terminal's journey record."""
    return Journey(kind=kind, at=at, terminal=reference(terminal), stop=reference("S1"), nonce=nonce).encoded()


class Field:
    """A card in the field that can be taken away: before the ``tear``-th command, or after it and before its answer."""

    def __init__(self, memory: Memory, *, tear: int | None = None, answered: bool = False) -> None:
        self.applet = Applet(memory)
        self.applet.power()
        self.commands: list[bytes] = []
        self._tear, self._answered = tear, answered

    def transmit(self, command: bytes) -> bytes:
        place = len(self.commands)
        self.commands.append(command)
        if self._tear is not None and place >= self._tear and (place > self._tear or not self._answered):
            raise CardGone("taken away before the command")
        try:
            answer = self.applet.process(command)
        except PowerLost as lost:
            raise CardGone("lost power") from lost
        if self._tear == place:
            raise CardGone("taken away before the answer")
        return answer
