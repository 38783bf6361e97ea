"""A chip at a gate: torn away at every command and between any two bytes, and still exactly one tap or none."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from card.chip import AID, CardGone, Conversation, Journey, KeyUse, LastCommit, Memory, card_key, packed, reference
from card.credentials import TAP_USES, Decision, KeyRing, Presentation, Reason, TapKind, Verifier, numbers, raw_public, to_text
from card.validator import Outcome, Terminal
from card.validator.contactless import Contactless
from tests.db.validator.small_city import CITY, SmallCity, serving
from tests.unit.chip.cards import MASTER, Field, personalised

SERIALS = count(1000)


@pytest.fixture
def city() -> Iterator[SmallCity]:
    made = SmallCity(tokens={"one", "two"})
    with serving(made):
        yield made


@pytest.fixture
def gate(city: SmallCity, tmp_path: Path) -> Iterator[Terminal]:
    yield from enrolled(city, tmp_path / "gate", "one")


@pytest.fixture
def other(city: SmallCity, tmp_path: Path) -> Iterator[Terminal]:
    yield from enrolled(city, tmp_path / "other", "two")


def enrolled(city: SmallCity, home: Path, token: str) -> Iterator[Terminal]:
    terminal = Terminal(home)
    terminal.enrol(city.address, token)
    terminal.sync()
    yield terminal
    terminal.close()


class Chip:
    """A resident's plastic card."""

    def __init__(self, city: SmallCity, **facts: object) -> None:
        self.serial = next(SERIALS)
        self.number = numbers.make(CITY, self.serial)
        facts = {"at": datetime.now(UTC), "status_index": self.serial, "issuer_key": city.issuer_key, **facts}
        self.memory = Memory(personalised(number=self.number, **facts))  # type: ignore[arg-type]

    def field(self, *, tear: int | None = None, answered: bool = False) -> Field:
        return Field(self.memory, tear=tear, answered=answered)

    def last(self) -> LastCommit | None:
        """What the card says of its journey to somebody who has its key."""
        chip = Conversation(self.field().transmit)
        chip.select()
        chip.authenticate(card_key(MASTER, packed(self.number), AID, KeyUse.JOURNEY))
        return chip.last_commit()


def reader(gate: Terminal, *, keyed: bool = True, master: bytes = MASTER) -> Contactless:
    return Contactless(gate, {CITY: master} if keyed else {})


def accepted(city: SmallCity, gate: Terminal, chip: Chip) -> list[Presentation]:
    """The evidence of every tap of the card that the gate accepted, verified again as the city would."""
    verifier = Verifier(KeyRing.of({CITY: [("", raw_public(city.issuer_key.public_key()))]}))
    return [
        verifier.verify(tap.qr, now=datetime.fromtimestamp(tap.at_ms / 1000, tz=UTC), uses=TAP_USES)
        for tap in gate.journal.waiting(100_000)
        if tap.card_number == chip.number and tap.decision is Decision.ACCEPTED
    ]


def held_again(gate: Contactless, chip: Chip, *, tear: int | None = None, answered: bool = False) -> Outcome | None:
    try:
        return gate.tap(chip.field(tear=tear, answered=answered).transmit)
    except CardGone:
        return None


@pytest.mark.parametrize("keyed", [True, False])
def test_a_chip_opens_a_gate_and_its_tap_is_uploaded_like_any(city: SmallCity, gate: Terminal, keyed: bool) -> None:
    chip = Chip(city)
    found = reader(gate, keyed=keyed).tap(chip.field().transmit)
    assert (found.decision, found.kind, found.card_number, found.counter) == (Decision.ACCEPTED, TapKind.ENTRY, chip.number, 1)
    (shown,) = accepted(city, gate, chip)
    last = chip.last()
    if keyed:
        assert last is not None
        assert (last.counter, last.ratified, last.record) == (1, True, shown.record)
    else:
        assert last is None, "a terminal without the key leaves the journey alone"
    again = reader(gate, keyed=keyed).tap(chip.field().transmit)
    assert again.reason is Reason.PASSBACK
    assert chip.last() == last, "what is refused is never written to the card"
    assert gate.upload().stored == 2
    assert [tap.reason for tap in sorted(city.taps.values(), key=lambda tap: tap.seq)] == ["", "passback"]


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("answered", [False, True])
def test_a_card_torn_away_at_any_command_makes_one_tap_or_none(
    city: SmallCity, gate: Terminal, keyed: bool, answered: bool
) -> None:
    whole = Chip(city).field()
    reader(gate, keyed=keyed).tap(whole.transmit)
    assert len(whole.commands) == (7 if keyed else 3)
    for tear in range(len(whole.commands)):
        chip, contactless = Chip(city), reader(gate, keyed=keyed)
        first = held_again(contactless, chip, tear=tear, answered=answered)
        taps = accepted(city, gate, chip)
        assert len(taps) == (first is not None), "let through and written, or neither"
        second = held_again(contactless, chip)
        assert second is not None
        taps = accepted(city, gate, chip)
        assert len(taps) == 1, (tear, answered)
        assert (second.decision is Decision.ACCEPTED) is (first is None)
        last = chip.last()
        if keyed:
            assert last is not None
            assert (last.counter, last.record) == (taps[0].counter, taps[0].record), "the card and the journal say the same"
    assert gate.state().chain_holds


def test_a_card_that_loses_power_between_any_two_bytes_makes_one_tap_or_none(city: SmallCity, gate: Terminal) -> None:
    image = Chip(city)
    whole = Memory(image.memory.image)
    before = whole.written
    reader(gate).tap(Field(whole).transmit)
    total = whole.written - before
    assert total > 130
    for tear in range(0, total, 3):
        chip = Chip(city)
        chip.memory.tear_after = chip.memory.written + tear
        first = held_again(reader(gate), chip)
        chip.memory.tear_after = None
        assert held_again(reader(gate), chip) is not None
        (tap,) = accepted(city, gate, chip)
        last = chip.last()
        assert last is not None
        assert (last.counter, last.record) == (tap.counter, tap.record)
        assert (first is not None) == (tear >= 114), "once the commit is whole the gate has its answer"


def test_the_answer_that_was_lost_is_given_again_at_the_same_gate_only(
    city: SmallCity, gate: Terminal, other: Terminal
) -> None:
    chip = Chip(city)
    assert held_again(reader(gate), chip, tear=5, answered=True) is None  # committed, and the gate does not know
    torn = chip.last()
    assert torn is not None
    assert not torn.ratified
    elsewhere = reader(other).tap(chip.field().transmit)
    assert (elsewhere.decision, elsewhere.counter) == (Decision.ACCEPTED, 2), "the next gate makes a tap of its own"
    assert (len(accepted(city, gate, chip)), len(accepted(city, other, chip))) == (0, 1)

    chip = Chip(city)
    assert held_again(reader(gate), chip, tear=5, answered=True) is None
    recovered = reader(gate).tap(chip.field().transmit)
    assert (recovered.decision, recovered.counter) == (Decision.ACCEPTED, 1), "the same signature once more"
    last = chip.last()
    assert last is not None
    assert (last.counter, last.ratified) == (1, True)


def test_a_gate_that_died_before_it_wrote_recovers_the_tap_and_a_late_rider_makes_a_new_one(
    city: SmallCity, tmp_path: Path
) -> None:
    offset = [0]

    def clock_ms() -> int:
        return int(datetime.now(UTC).timestamp() * 1000) + offset[0]

    gate = Terminal(tmp_path / "gate", clock_ms=clock_ms)
    gate.enrol(city.address, "one")
    gate.sync()
    early, late = Chip(city), Chip(city)
    for chip in (early, late):
        assert held_again(reader(gate), chip, tear=5, answered=True) is None
    gate.close()
    gate = Terminal(tmp_path / "gate", clock_ms=clock_ms)  # another process, after the power came back
    offset[0] = 20_000
    assert reader(gate).tap(early.field().transmit).counter == 1
    offset[0] = 70_000
    assert reader(gate).tap(late.field().transmit).counter == 2
    assert [len(accepted(city, gate, chip)) for chip in (early, late)] == [1, 1]
    gate.close()


def test_a_recorded_tap_gives_no_second_passage_to_a_card_that_missed_the_ratification(city: SmallCity, gate: Terminal) -> None:
    chip = Chip(city)
    assert held_again(reader(gate), chip, tear=6) is not None  # gone before the last command: let through
    last = chip.last()
    assert last is not None
    assert not last.ratified
    again = reader(gate).tap(chip.field().transmit)
    assert again.reason is Reason.PASSBACK
    assert len(accepted(city, gate, chip)) == 1


@pytest.mark.parametrize(("master", "journey_key"), [(b"x" * 16, None), (MASTER, b"y" * 16)])
def test_with_a_wrong_key_on_either_side_the_signature_still_speaks_and_the_journey_is_left_alone(
    city: SmallCity, gate: Terminal, master: bytes, journey_key: bytes | None
) -> None:
    chip = Chip(city, journey_key=journey_key)
    before = chip.memory.image
    assert reader(gate, master=master).tap(chip.field().transmit).decision is Decision.ACCEPTED
    changed = [place for place, (old, new) in enumerate(zip(before, chip.memory.image, strict=True)) if old != new]
    assert max(changed) < 512, "the counter, and nothing else"


def test_a_chip_is_judged_by_the_same_rules_as_a_code(city: SmallCity, gate: Terminal) -> None:
    chip = Chip(city)
    city.deny(chip.serial)
    gate.sync()
    blocked = reader(gate).tap(chip.field().transmit)
    assert blocked.reason is Reason.CARD_BLOCKED
    assert chip.last() is None
    for facts, reason in (
        ({"at": datetime.now(UTC) - timedelta(days=400)}, Reason.EXPIRED),
        ({"issuer_key": SmallCity().issuer_key}, Reason.UNKNOWN_KEY),
    ):
        assert reader(gate).tap(Chip(city, **facts).field().transmit).reason is reason
    blank = reader(gate).tap(Field(Memory()).transmit)
    assert (blank.reason, blank.seq) == (Reason.NOT_A_CREDENTIAL, 0), "a blank chip is no tap"
    strange = reader(gate).tap(lambda _: b"\x6a\x82")
    assert strange.seq == 0


def test_what_a_chip_signed_is_never_taken_from_a_screen_nor_twice(city: SmallCity, gate: Terminal) -> None:
    chip = Chip(city)
    reader(gate).tap(chip.field().transmit)
    (shown,) = accepted(city, gate, chip)
    assert gate.decide(to_text(shown.raw)).reason is Reason.USE_NOT_ACCEPTED
    assert gate.decide(to_text(shown.raw), uses=TAP_USES).reason is Reason.REPLAYED


def test_every_command_recorded_at_one_tap_is_worthless_at_the_next(city: SmallCity, gate: Terminal) -> None:
    """A reader in the middle that repeats an old tap's answers, or its commands, gets nothing through and nothing written."""
    chip = Chip(city)
    answers: list[bytes] = []
    field = chip.field()

    def heard(command: bytes) -> bytes:
        answers.append(field.transmit(command))
        return answers[-1]

    reader(gate).tap(heard)
    played = iter(answers)
    outcome = held = None
    try:
        outcome = reader(gate).tap(lambda _: next(played))
    except (StopIteration, RuntimeError):
        held = "nothing more to play"
    assert held or (outcome is not None and outcome.decision is Decision.REFUSED)
    assert len(accepted(city, gate, chip)) == 1
    before = chip.last()
    replay = chip.field()
    for command in field.commands:
        replay.transmit(command)
    assert chip.last() == before


def test_a_record_names_its_terminal_and_stop(city: SmallCity, gate: Terminal) -> None:
    chip = Chip(city)
    reader(gate).tap(chip.field().transmit)
    last = chip.last()
    assert last is not None
    journey = last.journey
    assert isinstance(journey, Journey)
    assert (journey.terminal, journey.stop) == (reference("T1"), reference("S1"))
