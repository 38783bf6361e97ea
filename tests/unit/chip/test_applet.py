"""The card alone: what it gives whom, what it refuses, and what survives losing power between any two bytes."""

import pytest

from card.chip import AID, Applet, CardGone, CardIsWrong, CardRefused, Conversation, KeyUse, Memory, PowerLost, Slots
from card.credentials import KeyRing, TapKind, Verifier, raw_public
from tests.unit.chip.cards import ADMIN_KEY, CITY, JOURNEY_KEY, NOW, NUMBER, Field, credential, personalised, record

RING = KeyRing.of({"320100": [("", raw_public(CITY.public_key()))]})
TAKEN = frozenset({3})


@pytest.fixture(scope="module")
def image() -> bytes:
    return personalised()


def talk(memory: Memory, *, key: bytes | None = None, use: KeyUse = KeyUse.JOURNEY) -> tuple[Conversation, Field]:
    field = Field(memory)
    chip = Conversation(field.transmit)
    chip.select()
    if key is not None:
        chip.authenticate(key, use)
    return chip, field


def status_of(raw: bytes) -> str:
    return raw[-2:].hex().upper()


def test_anybody_reads_the_credential_and_gets_a_signature_that_verifies(image: bytes) -> None:
    chip, _ = talk(Memory(image))
    static = chip.credential()
    signed = [chip.sign(record()) for _ in range(2)]
    assert [one.counter for one in signed] == [1, 2]
    found = Verifier(RING).verify(signed[1].presentation(static), now=NOW, uses=TAKEN)  # type: ignore[arg-type]
    assert (found.number, found.counter, found.record) == (NUMBER, 2, record())


@pytest.mark.parametrize(
    ("apdu", "status"),
    [
        ("00A4040007F0434341524402", "6A82"),  # another application
        ("00A40000", "6A82"),
        ("00B00000", "6985"),  # nothing selected
        ("00A4", "6700"),
        ("00A40400FF00", "6700"),
        ("80CA0000", "6E00"),
    ],
)
def test_a_card_refuses_what_it_does_not_know(image: bytes, apdu: str, status: str) -> None:
    assert status_of(Applet(Memory(image)).process(bytes.fromhex(apdu))) == status


@pytest.mark.parametrize(
    ("apdu", "status"),
    [
        ("00B2010400", "6982"),  # where the holder has been is not for everybody
        ("00DC010408" + "00" * 8, "6982"),
        ("0400000000", "6982"),
        ("00460000", "6982"),  # a card makes its key once
        ("00DA0101" + "10" + "00" * 16, "6982"),
        ("00D60000" + "01" + "00", "6982"),
        ("00440000", "6982"),
        ("00820001" + "18" + "00" * 24, "6985"),  # no challenge before
        ("00B0FFFF00", "6B00"),
        ("00880000" + "04" + "00" * 4, "6700"),
        ("00120000", "6D00"),
    ],
)
def test_a_stranger_gets_no_further(image: bytes, apdu: str, status: str) -> None:
    _, field = talk(Memory(image))
    before = field.applet._journey_slots.current()
    assert status_of(field.transmit(bytes.fromhex(apdu))) == status
    assert field.applet._journey_slots.current() == before


def test_a_terminal_with_a_wrong_key_learns_nothing_and_changes_nothing(image: bytes) -> None:
    memory = Memory(image)
    for key, use in ((b"x" * 16, KeyUse.JOURNEY), (JOURNEY_KEY, KeyUse.ADMIN), (ADMIN_KEY, KeyUse.JOURNEY)):
        with pytest.raises(CardRefused) as refused:
            talk(memory, key=key, use=use)
        assert refused.value.status == 0x6300
    assert memory.image == image


def test_a_card_with_a_wrong_key_is_found_out(image: bytes) -> None:
    field = Field(Memory(image))

    def forged(command: bytes) -> bytes:
        return bytes(8) + b"\x90\x00" if command[1] == 0x82 else field.transmit(command)

    chip = Conversation(forged)
    chip.select()
    with pytest.raises(CardIsWrong):
        chip.authenticate(JOURNEY_KEY)


def test_the_journey_is_committed_with_counter_and_signature_and_ratified_by_the_next_command(image: bytes) -> None:
    memory = Memory(image)
    chip, _ = talk(memory, key=JOURNEY_KEY)
    assert chip.last_commit() is None
    done = chip.commit(record())
    last = chip.last_commit()
    assert last is not None
    assert (done.counter, last.counter, last.ratified, last.record) == (1, 1, True, record())
    assert chip.proof() == done
    journey = last.journey
    assert journey is not None
    assert (journey.kind, journey.at) == (TapKind.ENTRY, NOW)

    chip.commit(record(kind=TapKind.EXIT, nonce=b"2" * 8))  # and the card is pulled away
    chip, _ = talk(memory, key=JOURNEY_KEY)
    last = chip.last_commit()
    assert last is not None
    assert (last.counter, last.ratified) == (2, False)
    chip.sign(record())  # a signature alone counts, and leaves the journey
    last = chip.last_commit()
    assert last is not None
    assert (last.counter, last.ratified) == (2, False)
    assert chip.commit(record()).counter == 4


def test_no_command_of_a_session_can_be_replayed_moved_or_changed(image: bytes) -> None:
    memory = Memory(image)
    chip, field = talk(memory, key=JOURNEY_KEY)
    chip.commit(record())
    update = field.commands[-1]
    before = memory.image
    assert status_of(field.applet.process(update)) == "6988"  # in the same session
    assert status_of(field.applet.process(update)) == "6982"  # which is over now
    for old in field.commands[1:]:  # and in a new field, every command of the old one
        _, fresh = talk(Memory(before))
        answer = fresh.applet.process(old)
        assert answer[-2:] != b"\x90\x00" or old[1] in (0x84, 0xB0)
    chip, field = talk(memory, key=JOURNEY_KEY)
    for place in range(len(update)):
        changed = bytearray(update)
        changed[place] ^= 1
        assert field.applet.process(bytes(changed))[-2:] != b"\x90\x00"
    assert Applet(memory)._journey()[0] == b"\x00\x00\x00\x01"


def test_an_answer_changed_on_the_way_is_found_out(image: bytes) -> None:
    field = Field(Memory(image))

    def changed(command: bytes) -> bytes:
        answer = field.transmit(command)
        return bytes([answer[0] ^ 1]) + answer[1:] if command[1] == 0xDC else answer

    chip = Conversation(changed)
    chip.select()
    chip.authenticate(JOURNEY_KEY)
    with pytest.raises(CardIsWrong):
        chip.commit(record())


def test_torn_between_any_two_bytes_a_commit_is_there_whole_or_not_at_all(image: bytes) -> None:
    memory = Memory(image)
    chip, _ = talk(memory, key=JOURNEY_KEY)
    chip.commit(record())
    chip.ratify()
    start = memory.image
    seen = set()
    for tear in range(1000):
        torn = Memory(start, tear_after=tear)
        chip, _ = talk(torn, key=JOURNEY_KEY)
        try:
            chip.commit(record(nonce=b"2" * 8))
            chip.ratify()
        except CardGone:
            pass
        else:
            break
        chip, _ = talk(torn, key=JOURNEY_KEY)
        last = chip.last_commit()
        assert last is not None
        state = (last.counter, last.ratified, last.record)
        assert state in {(1, True, record()), (2, False, record(nonce=b"2" * 8)), (2, True, record(nonce=b"2" * 8))}
        proof = chip.proof()
        assert (proof.counter, proof.record) == (last.counter, last.record)
        assert Verifier(RING).verify(proof.presentation(chip.credential()), now=NOW, uses=TAKEN)  # type: ignore[arg-type]
        seen.add(state[:2])
        assert chip.commit(record(nonce=b"3" * 8)).counter == last.counter + 1, "and the card goes on"
    assert seen == {(1, True), (2, False)}, "ratified only when whole: the last tear is the end of the writing"
    assert tear > 100


def test_a_bureau_that_loses_power_leaves_a_blank_card(image: bytes) -> None:
    tears = range(0, 600, 7)
    for tear in tears:
        memory = Memory(tear_after=tear)
        field = Field(memory)
        chip = Conversation(field.transmit)
        chip.select()
        try:
            public = chip.make_key()
            chip.personalise(number=NUMBER, journey_key=JOURNEY_KEY, admin_key=ADMIN_KEY, credential=credential(public))
        except CardGone:
            again = Conversation(Applet(Memory(memory.image)).process)
            assert again.select().number == ""
            again.personalise(
                number=NUMBER, journey_key=JOURNEY_KEY, admin_key=ADMIN_KEY, credential=credential(again.make_key())
            )
        else:
            break
    else:
        raise AssertionError("the bureau never ended")


def test_the_city_renews_the_credential_and_a_tear_keeps_the_old_one(image: bytes) -> None:
    memory = Memory(image)
    chip, _ = talk(memory)
    old = chip.credential()
    public = Verifier(RING).static(old, now=NOW).device_key
    fresh = credential(public, status_index=8)
    for tear in range(0, 5000, 13):
        torn = Memory(image, tear_after=tear)
        chip, _ = talk(torn, key=ADMIN_KEY, use=KeyUse.ADMIN)
        try:
            chip.renew(fresh)
        except CardGone:
            chip, _ = talk(torn)
            assert chip.credential() in (old, fresh)
        else:
            chip.select()
            assert chip.credential() == fresh
            break
    chip, _ = talk(Memory(image), key=JOURNEY_KEY)
    with pytest.raises(CardRefused) as refused:
        chip.renew(fresh)  # a terminal cannot
    assert refused.value.status == 0x6982


def test_slots_hold_the_newest_whole_value() -> None:
    memory = Memory()
    slots = Slots(memory, 0, 64)
    assert slots.current() == (0, b"")
    for number in range(1, 6):
        assert slots.replace(bytes([number]) * number) == number
        assert slots.current() == (number, bytes([number]) * number)
    memory.tear_after = memory.written + 3
    with pytest.raises(PowerLost):
        slots.replace(b"x" * 30)
    assert slots.current() == (5, b"\x05" * 5)


def test_the_application_is_named() -> None:
    assert AID.hex().upper() == "F0434341524401"
