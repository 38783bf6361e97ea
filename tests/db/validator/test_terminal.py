"""A terminal's life against a small city over real HTTP: enrol, sync, decide alone, upload, be killed."""

import contextlib
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import segno

from card.credentials import CredentialRefused, Decision, Reason, TapKind
from card.validator import CityRefused, CityUnreachable, NotEnrolled, Terminal
from card.validator.__main__ import main
from card.validator.journal import Journal
from card.validator.rules import Standing
from card.validator.terminal import device_ms
from tests.db.validator.small_city import SENIOR, SmallCity, serving

ROOT = Path(__file__).parents[3]


@pytest.fixture
def city() -> Iterator[SmallCity]:
    made = SmallCity()
    with serving(made):
        yield made


@pytest.fixture
def gate(city: SmallCity, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "gate")
    terminal.enrol(city.address, "once")
    terminal.sync()
    yield terminal
    terminal.close()


def test_a_token_enrols_one_terminal_once(city: SmallCity, tmp_path: Path) -> None:
    first, second = Terminal(tmp_path / "1"), Terminal(tmp_path / "2")
    assert first.enrol(city.address, "once").terminal_id == "T1"
    assert (tmp_path / "1" / "key.pem").stat().st_mode & 0o077 == 0
    with pytest.raises(CityRefused) as refused:
        second.enrol(city.address, "once")
    assert refused.value.code == "token-spent"
    for call in (second.sync, second.upload, second.state, lambda: second.decide("x")):
        with pytest.raises(NotEnrolled):
            call()
    first.close()
    second.close()


def test_a_gate_decides_records_and_uploads(city: SmallCity, gate: Terminal) -> None:
    old, young, foreign = city.phone(1, SENIOR), city.phone(2), city.foreign_phone(3, SENIOR)
    accepted = gate.decide(old.show())
    assert (accepted.decision, accepted.kind, accepted.card_number) == (Decision.ACCEPTED, TapKind.ENTRY, old.number)
    assert [held.code for held in accepted.entitlements] == ["senior-70"]
    assert gate.decide(young.show()).decision is Decision.ACCEPTED
    assert gate.decide(foreign.show()).issuer == "320500"
    assert gate.decide(old.show()).reason is Reason.PASSBACK
    assert gate.decide("https://example.org").seq == 0  # another QR is no tap
    uploaded = gate.upload()
    assert (uploaded.stored, uploaded.waiting) == (4, 0)
    assert gate.upload().stored == 0
    kept = sorted(city.taps.values(), key=lambda tap: tap.seq)
    assert [tap.reason for tap in kept] == ["", "", "", "passback"]
    assert all(after.prev == before.digest() for before, after in pairwise(kept))
    assert gate.state().chain_holds


def test_a_code_opens_a_gate_once(city: SmallCity, gate: Terminal) -> None:
    phone = city.phone(1)
    code = phone.show()
    assert gate.decide(code).reason is None
    assert gate.decide(code).reason is Reason.REPLAYED


def test_a_block_reaches_the_gate_with_the_next_poll_and_a_gap_is_closed_by_a_base(city: SmallCity, gate: Terminal) -> None:
    lost = city.phone(7)
    assert gate.decide(lost.show(), kind=TapKind.EXIT).reason is None
    city.deny(7)
    assert gate.decide(lost.show(), kind=TapKind.ENTRY).reason is None  # it cannot know yet
    assert gate.sync().denied == 1
    assert gate.decide(lost.show()).reason is Reason.CARD_BLOCKED
    for index in range(10, 14):
        city.deny(index)
    del city.deltas[:3]  # the server keeps only its newest deltas …
    with pytest.raises(CredentialRefused) as refused:
        gate.sync()
    assert refused.value.reason is Reason.GAP  # … and no base: nothing to go on
    city.base, city.deltas = city.denied, []
    assert gate.sync().denied == 5


def test_another_citys_list_index_never_denies_our_card(city: SmallCity, gate: Terminal) -> None:
    city.deny(3)
    gate.sync()
    assert gate.decide(city.foreign_phone(3).show()).reason is None
    assert gate.decide(city.phone(3).show()).reason is Reason.CARD_BLOCKED


def test_an_older_bundle_is_refused_and_the_newer_stays(city: SmallCity, gate: Terminal) -> None:
    city.deny(1)
    gate.sync()
    city.bundle_seq = 1
    with pytest.raises(CredentialRefused):
        gate.sync()
    assert gate.decide(city.phone(1).show()).reason is Reason.CARD_BLOCKED


@pytest.mark.parametrize(
    ("hours", "known", "new"),
    [
        (0.5, None, None),
        (23, None, Reason.FIRST_SEEN_LIMIT),
        (71, None, Reason.FIRST_SEEN_LIMIT),
        (73, Reason.LIST_TOO_OLD, Reason.LIST_TOO_OLD),
    ],
)
def test_the_network_is_off_for_hours(
    city: SmallCity, tmp_path: Path, hours: float, known: Reason | None, new: Reason | None
) -> None:
    city.risk = {"first_seen_limit": 0}
    ahead = 0
    gate = Terminal(tmp_path / "gate", clock_ms=lambda: device_ms() + ahead)
    gate.enrol(city.address, "once")
    gate.sync()
    regular, stranger = city.phone(1), city.phone(2)
    assert gate.decide(regular.show()).reason is None
    ahead = int(hours * 3_600_000)
    at = datetime.now(UTC) + timedelta(hours=hours)
    assert gate.decide(regular.show(at=at)).reason is known
    assert gate.decide(stranger.show(at=at)).reason is new
    gate.close()


def test_only_new_cards_taken_with_an_old_list_count_against_the_limit(city: SmallCity, tmp_path: Path) -> None:
    city.risk = {"first_seen_limit": 1}
    ahead = 0
    gate = Terminal(tmp_path / "gate", clock_ms=lambda: device_ms() + ahead)
    gate.enrol(city.address, "once")
    gate.sync()
    regulars = [city.phone(serial) for serial in range(3)]
    assert [gate.decide(phone.show()).reason for phone in regulars] == [None] * 3
    ahead = 2 * 3_600_000
    at = datetime.now(UTC) + timedelta(hours=2)
    assert gate.decide(city.phone(10).show(at=at)).reason is None
    assert gate.decide(city.phone(11).show(at=at)).reason is Reason.FIRST_SEEN_LIMIT
    assert gate.decide(regulars[0].show(at=at)).reason is None
    ahead = 0
    gate.sync()  # a fresh list starts the count again
    gate.close()


@pytest.mark.parametrize(("offset_s", "reason"), [(-100, None), (100, None), (-180, Reason.CLOCK_QUARANTINED)])
def test_a_wrong_clock_is_corrected_up_to_two_minutes_and_then_quarantined(
    city: SmallCity, tmp_path: Path, offset_s: int, reason: Reason | None
) -> None:
    gate = Terminal(tmp_path / "gate", clock_ms=lambda: device_ms() + offset_s * 1000)
    gate.enrol(city.address, "once")
    gate.sync()
    outcome = gate.decide(city.phone(1).show())
    assert outcome.reason is reason
    gate.upload()
    (tap,) = city.taps.values()
    assert abs(tap.at_ms - time.time() * 1000) < 3000
    assert abs(tap.skew_ms + offset_s * 1000) < 3000
    gate.close()


def test_a_clock_set_back_after_a_tap_is_noticed_without_any_network(city: SmallCity, tmp_path: Path) -> None:
    back = 0
    gate = Terminal(tmp_path / "gate", clock_ms=lambda: device_ms() - back)
    gate.enrol(city.address, "once")
    gate.sync()
    assert gate.decide(city.phone(1).show()).reason is None
    back = 3_600_000
    at = datetime.now(UTC) - timedelta(hours=1)
    assert gate.decide(city.phone(2).show(at=at)).reason is Reason.CLOCK_QUARANTINED
    gate.close()


@pytest.mark.parametrize("how", ["lose_answers", "cut_answers"])
def test_a_lost_answer_costs_nothing_and_counts_nothing_twice(city: SmallCity, gate: Terminal, how: str) -> None:
    for serial in range(5):
        gate.decide(city.phone(serial).show())
    setattr(city, how, 1)
    with pytest.raises(CityUnreachable):
        gate.upload(batch=2)
    assert (len(city.taps), gate.state().taps.waiting) == (2, 5)
    assert gate.upload(batch=2).stored == 5
    assert len(city.taps) == 5


def test_the_network_is_off_and_everything_but_the_network_works(city: SmallCity, tmp_path: Path) -> None:
    with serving(city) as address:
        gate = Terminal(tmp_path / "gate")
        gate.enrol(address, "once")
        gate.sync()
    assert gate.decide(city.phone(1).show()).decision is Decision.ACCEPTED
    for call in (gate.sync, gate.upload):
        with pytest.raises(CityUnreachable):
            call()
    assert gate.state().taps.waiting == 1
    gate.close()


def test_before_the_first_bundle_nothing_opens_and_it_is_still_recorded(city: SmallCity, tmp_path: Path) -> None:
    gate = Terminal(tmp_path / "gate")
    gate.enrol(city.address, "once")
    assert gate.decide(city.phone(1).show()).reason is Reason.NO_BUNDLE
    assert gate.state().taps.waiting == 1
    gate.close()


def test_a_changed_record_is_found_in_the_chain(city: SmallCity, gate: Terminal, tmp_path: Path) -> None:
    for serial in range(3):
        gate.decide(city.phone(serial).show())
    with sqlite3.connect(tmp_path / "gate" / "journal.sqlite") as other:
        (record,) = other.execute("SELECT record FROM tap WHERE seq = 2").fetchone()
        changed = bytearray(record)
        changed[changed.index(b"skew_ms") + 7] ^= 1  # one bit of the skew
        other.execute("UPDATE tap SET record = ? WHERE seq = 2", (bytes(changed),))
    other.close()
    broken = gate.journal.verify_chain()
    assert broken is not None
    assert broken.seq == 2


def test_an_inspector_reads_a_printed_card_and_spends_no_counter(city: SmallCity, gate: Terminal) -> None:
    phone = city.phone(1)
    code = phone.show()
    shown, reason = gate.inspect(code)
    assert (shown.number if shown else None, reason) == (phone.number, None)
    assert gate.decide(code).reason is None
    city.deny(1)
    gate.sync()
    assert gate.inspect(phone.show())[1] is Reason.CARD_BLOCKED
    assert gate.inspect("x") == (None, Reason.NOT_A_CREDENTIAL)


def run(home: Path, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "card.validator", *words, "--home", str(home)],
        cwd=ROOT,
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_from_enrolment_to_upload(city: SmallCity, tmp_path: Path) -> None:
    home = tmp_path / "gate"
    assert run(home, "status").returncode == 2
    assert "enrolled as T1" in run(home, "enrol", "--server", city.address, "--token", "once").stdout
    good, lost = city.phone(1, SENIOR), city.phone(2)
    city.deny(2)
    assert "1 entries" in run(home, "sync").stdout
    spoken = run(home, "decide", said=f"{good.show()}\r\n{lost.show()}\nhttps://example.org\n").stdout.splitlines()
    assert spoken[0].startswith("✓ 请通行 · Go ahead  进站 entry  3132")
    assert "70岁以上 aged 70 and over" in spoken[0]
    assert spoken[1].startswith("✗ 卡片已挂失或停用 · The card is blocked")
    assert "[not-a-credential]" in spoken[2]
    picture = tmp_path / "shown.png"
    segno.make(city.phone(3).show(), error="m").save(str(picture), scale=5)
    seen = json.loads(run(home, "decide", "--image", str(picture), "--json").stdout)
    assert (seen["decision"], seen["seq"]) == ("accepted", 1)
    assert "3 stored, 0 repeated, 0 refused, 0 waiting" in run(home, "upload").stdout
    state = json.loads(run(home, "status", "--json").stdout)
    assert (state["mode"], state["staleness"], state["chain_holds"]) == ("entry", "fresh", True)
    assert state["taps"] == {"waiting": 0, "stored": 3, "refused": 0}


def test_a_picture_without_a_code_says_so(city: SmallCity, gate: Terminal, tmp_path: Path) -> None:
    picture = tmp_path / "other.png"
    segno.make("x" * 10).save(str(picture), scale=1, border=0, dark="white")
    with pytest.raises(SystemExit, match="no QR code found"):
        main(["decide", "--home", str(tmp_path / "gate"), "--image", str(picture)])


def test_a_kill_at_any_moment_loses_nothing_that_was_spoken(city: SmallCity, gate: Terminal, tmp_path: Path) -> None:
    """Kill -9 at random moments: what was said is on the disk, the chain holds, and every tap arrives once."""
    chance = random.Random(20261122)
    spoken: list[tuple[str, int]] = []
    serial = 100
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "card.validator", "decide", "--json", "--home", str(tmp_path / "gate")],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        feed = io.StringIO()
        for _ in range(400):
            serial += 1
            feed.write(city.phone(serial).show() + "\n")
        os.set_blocking(process.stdin.fileno(), False)
        process.stdin.write(feed.getvalue()[:60_000].rsplit("\n", 1)[0] + "\n")
        process.stdin.flush()
        heard = [process.stdout.readline() for _ in range(chance.randint(1, 12))]
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        heard += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        for line in heard:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # cut in the middle of a word
            spoken.append((said["boot_id"], said["seq"]))
    journal = Journal(tmp_path / "gate" / "journal.sqlite")
    assert journal.verify_chain() is None
    journal.close()
    waiting = gate.state().taps.waiting
    assert len(spoken) >= 6
    assert waiting >= len(spoken)
    city.lose_answers = 1
    with pytest.raises(CityUnreachable):
        gate.upload(batch=50)
    gate.upload(batch=50)
    assert len(city.taps) == waiting
    assert set(spoken) <= city.taps.keys()


def keys_on_disk(home: Path) -> set[str]:
    return {path.name for path in home.glob("*.pem")}


@pytest.mark.parametrize("same_key", [False, True])
def test_a_certificate_is_renewed_with_a_fresh_key_or_the_same(
    city: SmallCity, gate: Terminal, tmp_path: Path, same_key: bool
) -> None:
    before = gate.certificate
    city.certificate_life = timedelta(days=120)
    after = gate.renew(same_key=same_key)
    assert after.expires_at > before.expires_at
    assert (after.terminal_id, after.key == before.key) == (before.terminal_id, same_key)
    assert keys_on_disk(tmp_path / "gate") == {"key.pem"}
    city.deny(1)
    assert gate.sync().denied == 1  # the new key speaks for the terminal


def test_a_renewal_whose_answer_is_lost_shuts_nobody_out(city: SmallCity, gate: Terminal, tmp_path: Path) -> None:
    city.lose_renewals = 2
    before = gate.certificate
    for _ in range(2):
        with pytest.raises(CityUnreachable):
            gate.renew()
    assert gate.certificate == before
    gate.sync()  # the old key still counts
    assert gate.renew().key != before.key
    gate.sync()
    assert keys_on_disk(tmp_path / "gate") == {"key.pem"}


@pytest.mark.parametrize(
    ("days", "standing"),
    [(31, Standing.ENROLLED), (30, Standing.RENEWAL_DUE), (1, Standing.RENEWAL_DUE), (0, Standing.EXPIRED)],
)
def test_a_terminal_knows_how_it_stands(city: SmallCity, tmp_path: Path, days: int, standing: Standing) -> None:
    city.certificate_life = timedelta(days=days)
    gate = Terminal(tmp_path / "gate")
    gate.enrol(city.address, "once")
    assert gate.standing is standing
    gate.close()


def test_a_terminal_whose_certificate_ran_out_enrols_again_and_keeps_its_journal(city: SmallCity, gate: Terminal) -> None:
    gate.decide(city.phone(1).show())
    city.tokens.add("twice")
    with pytest.raises(CityRefused):
        gate.enrol(city.address, "never")
    gate.sync()  # a failed enrolment leaves it what it was
    assert gate.enrol(city.address, "twice").terminal_id == "T2"
    gate.sync()
    assert gate.decide(city.phone(1).show()).reason is Reason.PASSBACK  # and it remembers
    assert gate.upload().stored == 2


def test_a_clock_that_was_set_is_seen_by_the_uptime_and_the_time_of_the_tap_stays_right(
    city: SmallCity, tmp_path: Path
) -> None:
    wrong, run = 0, "first"
    gate = Terminal(
        tmp_path / "gate",
        clock_ms=lambda: device_ms() + wrong,
        uptime=lambda: (run, time.monotonic_ns() // 1_000_000),
    )
    gate.enrol(city.address, "once")
    gate.sync()
    wrong = 90_000  # somebody sets it a minute and a half ahead: corrected
    assert gate.decide(city.phone(1).show()).reason is None
    wrong = 5 * 3_600_000  # five hours: the codes of a minute mean nothing any more
    assert gate.decide(city.phone(2).show()).reason is Reason.CLOCK_QUARANTINED
    wrong = 0
    assert gate.decide(city.phone(3).show()).reason is None
    run, wrong = "second", -3_600_000  # after a restart the uptime says nothing; the sync before says that this cannot be
    assert gate.decide(city.phone(4).show()).reason is Reason.CLOCK_QUARANTINED
    gate.upload()
    skews = [round(tap.skew_ms / 1000) for _, tap in sorted(city.taps.items())]
    assert skews == [-90, -18_000, 0, 0]
    first_three = [tap.at_ms for _, tap in sorted(city.taps.items())][:3]
    assert all(abs(at - time.time() * 1000) < 3000 for at in first_three)
    gate.close()


def test_a_clock_put_right_after_a_wrong_tap_is_believed_from_the_next_sync(city: SmallCity, tmp_path: Path) -> None:
    ahead = 3_600_000
    gate = Terminal(tmp_path / "gate", clock_ms=lambda: device_ms() + ahead)
    gate.enrol(city.address, "once")
    gate.sync()
    assert gate.decide(city.phone(1).show()).reason is Reason.CLOCK_QUARANTINED
    ahead = 0
    gate.sync()
    assert gate.decide(city.phone(1).show()).reason is None
    gate.close()


def test_what_is_confirmed_and_old_is_let_go_and_the_chain_still_holds(city: SmallCity, gate: Terminal) -> None:
    for serial in range(30):
        gate.decide(city.phone(serial).show())
    gate.upload()
    gate.decide(city.phone(50).show())
    now_ms = int(time.time() * 1000)
    assert gate.journal.prune(now_ms=now_ms, keep_taps=10) == 21
    assert gate.journal.verify_chain() is None
    assert gate.journal.counts().stored == 9  # and the one that waits
    assert gate.journal.prune(now_ms=now_ms + 91 * 86_400_000, keep_taps=10) == 2 * 31  # counters and cards
    assert gate.decide(city.phone(51).show()).reason is None
    assert gate.upload().stored == 2
    assert gate.state().chain_holds


def test_deltas_are_kept_as_deltas_and_the_list_is_the_same_after_a_restart(
    city: SmallCity, gate: Terminal, tmp_path: Path
) -> None:
    for index in range(20):
        city.deny(index)
        gate.sync()
    with sqlite3.connect(tmp_path / "gate" / "journal.sqlite") as other:
        bases, deltas = other.execute("SELECT (SELECT count(*) FROM deny), (SELECT count(*) FROM deny_delta)").fetchone()
    other.close()
    assert (bases, deltas) == (1, 20)
    again = Terminal(tmp_path / "gate")
    assert again.state().denied == 20
    assert again.decide(city.phone(19).show()).reason is Reason.CARD_BLOCKED
    again.close()


def test_a_journal_of_the_first_form_is_taken_over(city: SmallCity, tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    with sqlite3.connect(tmp_path / "gate" / "journal.sqlite") as old:
        old.executescript(FIRST_FORM)
    old.close()
    gate = Terminal(tmp_path / "gate")
    gate.enrol(city.address, "once")
    gate.sync()
    assert gate.decide(city.phone(1).show()).reason is None
    assert gate.upload().stored == 1
    gate.close()


FIRST_FORM = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE tap (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, digest BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'stored', 'refused')), code TEXT NOT NULL DEFAULT '',
    UNIQUE (boot_id, seq)
);
CREATE INDEX tap_waiting ON tap (place) WHERE state = 'waiting';
CREATE TABLE shown (replay_key BLOB PRIMARY KEY, counter INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE card (
    number TEXT PRIMARY KEY, accepted_ms INTEGER NOT NULL, kind TEXT NOT NULL, first_sync INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX card_first ON card (first_sync);
CREATE TABLE deny (city TEXT PRIMARY KEY, seq INTEGER NOT NULL, digest BLOB NOT NULL, denied BLOB NOT NULL);
"""
