"""Balances at any instant, statements from any place, months that leave: none of it grows with history, all of it adds up."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
import time_machine
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.kernel import city, ids
from app.kernel.city import City
from app.kernel.db import Database, psycopg_url
from app.kernel.signing import Purpose
from card import ledger
from card.ledger import (
    AccountId,
    Month,
    Transfer,
    TransferCode,
    archive,
    chart,
    history,
    jobs,
    marks,
    proofs,
    shelf,
    verify,
)

JANUARY = datetime(2026, 1, 10, 4, 0, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 10, 4, 0, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
MONTH = Month.parse("2026-01")


def fare(at: datetime, number: int, debit: AccountId, credit: AccountId, amount: int) -> Transfer:
    return Transfer(
        id=ids.derived_id(at, "fare", str(number)),
        debit=debit,
        credit=credit,
        amount_minor=amount,
        code=TransferCode.FARE,
        event_at=at,
        reference=f"journey:{number}",
        metadata={"n": number, "乘客": "演示"} if number % 3 == 0 else {},
    )


def owner(database_url: str, opened: City) -> Session:
    session = Session(create_engine(psycopg_url(database_url), poolclass=NullPool))
    session.info[city.INFO] = opened
    return session


@pytest.fixture
def months(database_url: str) -> None:
    """Partitions for the first half of 2026, as if the city had run since then."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT card.make_ledger_months('2026-01-01', 8)")


@pytest.fixture
def here(tmp_path: Path) -> City:
    return City(code="320100", keys_dir=tmp_path / "var" / "keys")


class Told:
    """The last statements and how many blocks they touched."""

    def __init__(self, session: Session) -> None:
        self.session, self.blocks, self.busy = session, 0, False
        event.listen(session.connection(), "before_cursor_execute", self._explain)

    def _explain(self, connection, _cursor, statement, parameters, *_) -> None:
        if self.busy or not statement.lstrip("( \n").upper().startswith(("SELECT", "WITH")):
            return
        self.busy = True
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters).scalar_one()[0][
            "Plan"
        ]
        self.blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.busy = False


def history_of(database_url: str, *, batches: int, first: int) -> None:
    """``batches`` batches of 40 transfers from purse 1 to operator 2, in bulk, as posting would have written them."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """INSERT INTO card.transfer (id, place, debit, credit, amount_minor, event_at, debit_after_minor, code, reference)
               SELECT (lpad(to_hex(1767225600000 + b * 1000), 12, '0') || '7000' || lpad(to_hex(8 * 4096), 4, '8')
                        || lpad(to_hex(b * 64 + leaf), 12, '0'))::uuid,
                 b::bigint << 20 | leaf, 1, 2, 1, to_timestamp(1767225600 + b), -((b - 1) * 40 + leaf + 1), 10, ''
               FROM generate_series(%(first)s::int, %(last)s::int) b CROSS JOIN generate_series(0, 39) leaf""",
            {"first": first, "last": first + batches - 1},
        )
        connection.execute(
            """INSERT INTO card.account_delta (account_id, batch_no, debit_minor, credit_minor, transfers)
               SELECT 2, b, 0, 40, 40 FROM generate_series(%(first)s::int, %(last)s::int) b""",
            {"first": first, "last": first + batches - 1},
        )
        connection.execute(
            """INSERT INTO card.ledger_batch (batch_no, transfers, total_minor, posted_at)
               SELECT b, 40, 40, to_timestamp(1767225600 + b) FROM generate_series(%(first)s::int, %(last)s::int) b""",
            {"first": first, "last": first + batches - 1},
        )
        connection.execute("SELECT setval('card.ledger_batch_no', %s)", [first + batches - 1])
        connection.execute(
            "UPDATE card.account_balance SET posted_minor = %s WHERE account_id = 1", [-40 * (first + batches - 1)]
        )
        connection.execute(
            "VACUUM ANALYZE card.transfer, card.account_delta, card.ledger_batch, card.account_mark, card.account"
        )


def test_nothing_that_is_read_grows_with_history(database: Database, sealer: Database, database_url: str, months: None) -> None:
    with database.transaction() as session:
        purse = ledger.open_account(session, replace(chart.purse("p"), floor_minor=-(10**12)), now=JANUARY)
        metro = ledger.open_account(session, chart.operator("m"), now=JANUARY)
        assert (purse, metro) == (1, 2)
    seen: list[dict[str, int]] = []
    for first, batches, at in ((1, 400, 200), (401, 3_600, 2_184)):  # both eight batches behind a mark
        history_of(database_url, batches=batches, first=first)
        assert jobs.fold_settled(sealer) > 0
        middle = datetime.fromtimestamp(1767225600 + at, UTC)
        blocks = {}
        for name, asked in {
            "balance of a purse": lambda s, m=middle: ledger.balance_at(s, purse, m),
            "balance of an operator": lambda s, m=middle: -ledger.balance_at(s, metro, m),
            "balance of an operator now": lambda s: ledger.balance(s, metro),
            "newest page": lambda s: ledger.statement(s, metro),
            "page from the middle": lambda s, m=middle: ledger.statement(s, metro, until=m),
            "oldest page": lambda s: ledger.statement(s, metro, after="0.0"),
            "newest page of a purse": lambda s: ledger.statement(s, purse),
            "page of a purse from the middle": lambda s, m=middle: ledger.statement(s, purse, until=m),
            "trial balance": lambda s, m=middle: ledger.trial_balance(s, at=m),
        }.items():
            with database.transaction() as session:
                told = Told(session)
                answer = asked(session)
                blocks[name] = told.blocks
            if name.startswith("balance of a"):
                present = -40 * at if "now" not in name else None
                assert present is None or answer == present, name
        seen.append(blocks)
    small, large = seen
    assert {name: (small[name], large[name]) for name in small if large[name] > small[name] * 1.25 + 12} == {}


@pytest.fixture
def accounts(database: Database, months: None) -> dict[str, AccountId]:
    with database.transaction() as session:
        return {
            spec.key: ledger.open_account(session, spec, now=JANUARY)
            for spec in (chart.bank(), chart.purse("a"), chart.purse("b"), chart.operator("m"), chart.operator("n"))
        }


def live(database: Database, accounts: dict[str, AccountId]) -> None:
    """Two months: batches of each, one that both share, and one of January that comes in February."""
    bank, a, b, m, n = accounts.values()
    days = [JANUARY + timedelta(minutes=minute) for minute in range(6)] + [
        FEBRUARY + timedelta(minutes=minute) for minute in range(6)
    ]
    number = 0
    for place, now in enumerate(days):
        batch = [fare(now, number := number + 1, bank, a, 900), fare(now, number := number + 1, bank, b, 500)]
        batch += [fare(now, number := number + 1, payer, payee, 10 + number) for payer in (a, b) for payee in (m, n)]
        if place in (3, 8):  # a batch of both months
            other = FEBRUARY if now < FEBRUARY else JANUARY
            batch.append(fare(other + timedelta(seconds=place), number := number + 1, a, m, 7))
        with database.transaction() as session:
            assert not any(outcome.refused for outcome in ledger.post(session, batch, now=now))


def sealed(database: Database, sealer: Database, here: City) -> None:
    with sealer.transaction() as session:
        proofs.seal(session, key=here.key(Purpose.CHECKPOINT), city_code=here.code, now=FEBRUARY)
    assert jobs.fold_settled(sealer, all_of_it=True) >= 0


def everything(database: Database, accounts: dict[str, AccountId]) -> dict[str, object]:
    """All that can be asked of the books, from first to last."""
    instants = [JANUARY + timedelta(minutes=minute, seconds=1) for minute in range(-1, 7)]
    instants += [FEBRUARY + timedelta(minutes=minute, seconds=1) for minute in range(-1, 7)]
    with database.transaction() as session:
        found: dict[str, object] = {}
        for key, id_ in accounts.items():
            pages, before = [], None
            while lines := ledger.statement(session, id_, before=before, limit=7):
                pages += lines
                before = lines[-1].cursor
            upward, after = [], "0.0"
            while lines := ledger.statement(session, id_, after=after, limit=4):
                upward += lines[::-1]
                after = lines[0].cursor
            assert upward == pages[::-1]
            whole = ledger.period(session, id_, beginning=JANUARY - timedelta(days=1), ending=JULY)
            assert list(whole.lines) == upward
            assert (whole.opening_minor, whole.closing_minor) == (0, ledger.balance(session, id_).posted_minor)
            found[key] = (
                pages,
                [ledger.balance_at(session, id_, instant) for instant in instants],
                [ledger.statement(session, id_, until=instant, limit=2) for instant in instants],
                ledger.balance(session, id_),
            )
        found["trial"] = [ledger.trial_balance(session, at=instant) for instant in instants]
        found["days"] = [
            sorted(ledger.day_balance(session, beginning=begin, ending=end), key=lambda line: line.kind)
            for begin, end in zip(instants, instants[3:], strict=False)
        ]
        found["bookings"] = [ledger.booking(session, line.transfer_id) for line in found["bank"][0]]  # type: ignore[index]
    assert all(trial.balanced for trial in found["trial"])  # type: ignore[attr-defined]
    return found


def leave(database_url: str, here: City, *, keep_table: bool = False) -> dict[str, object]:
    with owner(database_url, here) as session, session.begin():
        manifest = archive.write(session, here, MONTH, now=JULY)
    with owner(database_url, here) as session, session.begin():
        archive.detach(session, here, MONTH, now=JULY)
    if not keep_table:
        with owner(database_url, here) as session, session.begin():
            archive.drop(session, here, MONTH)
            assert session.scalar(text("SELECT to_regclass('ledger_months.detached_2026_01')")) is None
    return manifest


def test_a_month_leaves_with_its_proofs_and_every_answer_stays_the_same(
    database: Database, sealer: Database, database_url: str, accounts: dict[str, AccountId], here: City
) -> None:
    live(database, accounts)
    sealed(database, sealer, here)
    before = everything(database, accounts)
    manifest = leave(database_url, here)
    assert manifest["transfers"] == 37
    assert manifest["by_code"] == {"fare": [37, manifest["total_minor"]]}
    with database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM card.transfer")) == 37
    assert everything(database, accounts) == before
    with database.transaction() as session:
        assert ledger.check_books(session).findings == []
        assert ledger.check_proofs(session) == []
        assert ledger.check_archive(session, here) == []
        key = here.key(Purpose.CHECKPOINT)
        public = proofs.verifier_key(here.code, key).text
        for booking in before["bookings"]:  # type: ignore[attr-defined]
            receipt = json.loads(json.dumps(ledger.receipt(session, booking.transfer.id)))
            assert verify.verify(receipt, key=public)["transfer"] == str(booking.transfer.id)


def test_what_stayed_here_of_a_batch_whose_other_part_left_is_still_guarded(
    database: Database, sealer: Database, database_url: str, accounts: dict[str, AccountId], here: City
) -> None:
    live(database, accounts)
    sealed(database, sealer, here)
    leave(database_url, here)
    with owner(database_url, here) as session:
        shared = session.scalars(
            text("SELECT id FROM card.transfer WHERE place >> 20 IN (SELECT batch_no FROM card.archived_batch)")
        ).all()
        assert shared
        session.execute(text("ALTER TABLE card.transfer DISABLE TRIGGER USER"))
        session.execute(text("UPDATE card.transfer SET reference = 'other' WHERE id = :id"), {"id": shared[0]})
        assert [finding.subject for finding in ledger.check_proofs(session)] == [f"transfer:{shared[0]}"]
        session.rollback()


def test_a_month_closes_the_same_before_and_after_it_left(
    database: Database, sealer: Database, database_url: str, accounts: dict[str, AccountId], here: City
) -> None:
    city.equip(database, here)
    live(database, accounts)

    def closes() -> list[ledger.MonthClose]:
        with database.transaction() as session:
            return [ledger.month_close(session, month, now=JULY) for month in (MONTH, MONTH.next, Month.parse("2026-06"))]

    assert [found.sealed for found in closes()] == [False, False, True]
    with pytest.raises(ledger.MonthNotSealed):
        ledger.closed(closes()[0])
    sealed(database, sealer, here)
    before = closes()
    january, february, june = before
    assert (january.transfers, january.batches, january.first) == (37, 6, None)  # what was booked in it, whatever its id
    assert (february.transfers, february.batches, february.first) == (37, 6, february.last)
    assert (june.transfers, june.batches, june.codes) == (0, 0, ())
    with database.transaction() as session:
        for found in before:
            assert found.balanced
            assert sum(line.transfers for line in found.codes) == found.transfers
            days = ledger.day_balance(session, beginning=found.beginning, ending=found.ending)
            assert {line.kind: (line.opening_minor, line.debit_minor, line.credit_minor) for line in found.lines} == {
                line.kind: (line.opening_minor, line.debit_minor, line.credit_minor) for line in days
            }
            kinds: dict[str, list[int]] = {}
            for id_ in accounts.values():  # and so say the statements, line by line
                stated = ledger.period(session, id_, beginning=found.beginning, ending=found.ending)
                sums = kinds.setdefault(stated.account.kind, [0, 0, 0, 0])
                amounts = [line.amount_minor for line in stated.lines]
                sums[0] += stated.opening_minor
                sums[1] -= sum(amount for amount in amounts if amount < 0)
                sums[2] += sum(amount for amount in amounts if amount > 0)
                sums[3] += stated.closing_minor
            assert {
                line.kind: [line.opening_minor, line.debit_minor, line.credit_minor, line.closing_minor] for line in found.lines
            } == kinds
    leave(database_url, here)
    assert closes() == before


@pytest.mark.parametrize("folded", [False, True])
def test_a_clock_that_steps_back_leaves_no_batch_out_of_a_day_and_none_in_two(
    database: Database, sealer: Database, accounts: dict[str, AccountId], folded: bool
) -> None:
    midnight = datetime(2026, 1, 10, 16, 0, tzinfo=UTC)
    bank, purse = accounts["bank"], accounts["purse:a"]
    clock = [-50, -10, -40, -20, 5, -30, 20, 10]  # minutes from midnight: what the poster's clock said, batch by batch
    days = [midnight + timedelta(days=day) for day in (-1, 0, 1)]
    for number, minutes in enumerate(clock, start=1):
        now = midnight + timedelta(minutes=minutes)
        with database.transaction() as session:
            ledger.post_all(session, [fare(JANUARY, number, bank, purse, 10**number)], now=now)
        if folded:  # a mark behind every batch
            assert jobs.fold_settled(sealer, all_of_it=True) == 1
    with database.transaction() as session:
        for account, sign in ((purse, 1), (bank, -1)):
            stated = [ledger.period(session, account, beginning=begin, ending=end) for begin, end in pairwise(days)]
            moved = [[sign * line.amount_minor for line in found.lines] for found in stated]
            assert moved == [[10**number for number in range(1, 5)], [10**number for number in range(5, 9)]]
            assert stated[0].closing_minor == stated[1].opening_minor == sign * 11_110
            assert ledger.balance_at(session, account, midnight) == sign * 11_110
            assert stated[1].closing_minor == ledger.balance(session, account).posted_minor
            assert ledger.balance_at(session, account, midnight + timedelta(minutes=20)) == sign * 111_111_110
        day = ledger.day_balance(session, beginning=days[0], ending=days[1])
        assert {line.kind: line.closing_minor for line in day} == {"bank": -11_110, "purse": 11_110}
        for begin, end, amount in ((days[0], days[1], 11_110), (days[1], days[2], 111_100_000)):
            assert ledger.booked(session, purse, codes=[TransferCode.FARE], beginning=begin, ending=end) == amount


def test_a_month_is_a_civil_month_and_one_that_runs_is_not_closed(
    database: Database, sealer: Database, accounts: dict[str, AccountId], here: City
) -> None:
    city.equip(database, here)
    midnight = datetime(2026, 1, 31, 16, 0, tzinfo=UTC)  # in Shanghai
    with database.transaction() as session:
        bank, purse = accounts["bank"], accounts["purse:a"]
        ledger.post_all(session, [fare(JANUARY, 1, bank, purse, 500)], now=midnight - timedelta(microseconds=1))
        ledger.post_all(session, [fare(JANUARY, 2, bank, purse, 300)], now=midnight)
        refused = ledger.post(session, [fare(midnight, 3, accounts["purse:b"], bank, 1)], now=midnight)
        assert refused[0].refused
        running = ledger.month_close(session, MONTH.next, now=midnight + timedelta(days=3))
        january = ledger.month_close(session, MONTH, now=midnight)
        with pytest.raises(ledger.UnknownMonth):
            ledger.month_close(session, MONTH, now=JANUARY - timedelta(days=11))
    assert (january.over, running.over) == (True, False)
    with pytest.raises(ledger.MonthNotOver):
        ledger.closed(running)
    assert [(found.transfers, found.refusals, found.codes[0].amount_minor) for found in (january, running)] == [
        (1, 0, 500),
        (1, 1, 300),
    ]


def test_an_id_of_an_archived_month_is_answered_and_never_used_again(
    database: Database, sealer: Database, database_url: str, accounts: dict[str, AccountId], here: City
) -> None:
    live(database, accounts)
    sealed(database, sealer, here)
    bank, a, _, m, _ = accounts.values()
    with database.transaction() as session:
        (old,) = ledger.transfers_by_reference(session, "journey:3")
    leave(database_url, here)
    late = fare(JANUARY, 10_000, bank, a, 1)
    for batch, answers in (
        ([old], [("repeated", "")]),
        ([replace(old, amount_minor=old.amount_minor + 1)], [("refused", "transfer-conflict")]),
        ([late], [("refused", "month-archived")]),
        ([fare(FEBRUARY, 10_001, a, m, 1), late, old], [("posted", ""), ("refused", "month-archived"), ("repeated", "")]),
    ):
        with database.transaction() as session:
            assert [(o.status.value, o.code) for o in ledger.post(session, batch, now=FEBRUARY)] == answers
    with database.transaction() as session:
        with pytest.raises(ledger.MonthArchived):
            ledger.post_all(session, [late], now=FEBRUARY)
        assert ledger.transfer(session, old.id) == old
        assert ledger.outcome_of(session, old.id).status.value == "posted"
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.errors.CheckViolation, match="archived_2026_01"):
        connection.execute(
            "INSERT INTO card.transfer (id, place, debit, credit, amount_minor, event_at, code, reference) "
            "VALUES (%s, 99, 1, 2, 1, now(), 10, '')",
            [late.id],
        )
    with database.transaction() as session:  # what was taken in January can still be given back, and not twice
        back = ledger.reverse(session, original_id=old.id, reversal_id=ids.derived_id(FEBRUARY, "back"), now=FEBRUARY)
        assert (back.debit, back.credit, back.amount_minor) == (old.credit, old.debit, old.amount_minor)
        with pytest.raises(ledger.ReversalExceedsOriginal):
            ledger.reverse(session, original_id=old.id, reversal_id=ids.derived_id(FEBRUARY, "again"), now=FEBRUARY)
        assert ledger.check_books(session).findings == []


def test_a_changed_archive_is_found_and_named(
    database: Database, sealer: Database, database_url: str, accounts: dict[str, AccountId], here: City
) -> None:
    live(database, accounts)
    sealed(database, sealer, here)
    leave(database_url, here, keep_table=True)
    file = shelf.folder_of(here, MONTH) / history.TRANSFERS
    whole = file.read_bytes()
    file.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with database.transaction() as session:
        assert [found.subject for found in ledger.check_archive(session, here)] == ["transfers.parquet:2026-01"]
    with owner(database_url, here) as session, session.begin(), pytest.raises(ledger.ArchiveDamaged):
        archive.drop(session, here, MONTH)
    file.unlink()
    with database.transaction() as session, pytest.raises(ledger.ArchiveUnavailable):
        ledger.statement(session, accounts["bank"], after="0.0")
    with database.transaction() as session:
        assert ledger.balance(session, accounts["bank"]).posted_minor == -12 * 1400
        assert len(ledger.check_archive(session, here)) == 1


def test_a_month_leaves_only_when_it_is_over_sealed_and_still(
    database: Database, sealer: Database, database_url: str, accounts: dict[str, AccountId], here: City
) -> None:
    live(database, accounts)
    with owner(database_url, here) as session:
        with pytest.raises(ledger.MonthTooYoung):
            archive.write(session, here, MONTH, now=datetime(2026, 3, 31, 23, 59, tzinfo=UTC))
        with pytest.raises(ledger.UnknownMonth):
            archive.write(session, here, Month.parse("2019-01"), now=JULY)
        with pytest.raises(ledger.MonthNotSealed):
            archive.write(session, here, MONTH, now=datetime(2026, 4, 1, tzinfo=UTC))
    sealed(database, sealer, here)
    with owner(database_url, here) as session, session.begin():
        archive.write(session, here, MONTH, now=JULY)
    bank, a, *_ = accounts.values()
    with database.transaction() as session:
        ledger.post(session, [fare(JANUARY, 9_999, bank, a, 1)], now=JULY)
    with owner(database_url, here) as session, session.begin(), pytest.raises(ledger.MonthMoved):
        archive.detach(session, here, MONTH, now=JULY)
    with database.transaction() as session:
        assert ledger.check_books(session).findings == []


def test_a_mark_waits_for_every_batch_below_it(
    database: Database, sealer: Database, accounts: dict[str, AccountId], monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, a, *_ = accounts.values()
    monkeypatch.setattr(jobs, "SETTLING", 0.2)
    monkeypatch.setattr(jobs, "NUMBERED", 0.0)
    slow = Session(database.engine)
    slow.begin()
    ledger.post_all(slow, [fare(JANUARY, 1, bank, a, 1)], now=JANUARY)  # has its number, and does not commit yet
    with database.transaction() as session:
        ledger.post_all(session, [fare(JANUARY, 2, bank, accounts["purse:b"], 1)], now=JANUARY)
    assert jobs.fold_settled(sealer, all_of_it=True) == 0
    slow.commit()
    slow.close()
    assert jobs.fold_settled(sealer, all_of_it=True) == 1
    with database.transaction() as session:
        assert marks.open_balances(session, [bank]) == {bank: -2}
        assert ledger.check_books(session).findings == []
    with psycopg.connect(database.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")) as connection:
        connection.execute("ALTER TABLE card.account_mark DISABLE TRIGGER append_only")
        connection.execute("UPDATE card.account_mark SET credit_minor = credit_minor + 1")
    with database.transaction() as session:
        assert [found.subject for found in ledger.check_books(session).findings] == ["account:bank mark:2"]


@pytest.mark.parametrize(("text_", "first"), [("2026-01", "2026-01-01"), ("2026-12", "2026-12-01")])
def test_a_month_is_a_range_of_ids(text_: str, first: str) -> None:
    month = Month.parse(text_)
    assert str(month.first) == first
    begin = datetime.fromisoformat(first).replace(tzinfo=UTC)
    assert month.id_floor <= ids.derived_id(begin, "x") < month.next.id_floor
    assert ids.derived_id(begin - timedelta(milliseconds=1), "x") < month.id_floor
    with pytest.raises(ledger.UnknownMonth):
        Month.parse("2026-13")


def test_an_alarm_is_logged_when_the_months_end_soon(
    database: Database, settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.make_months(database, settings)
    assert "end soon" not in capsys.readouterr().out
    monkeypatch.setattr(jobs, "MONTHS_AHEAD", 0)
    with time_machine.travel(datetime(2031, 1, 1, tzinfo=UTC)):
        jobs.make_months(database, settings)
    said = capsys.readouterr().out
    assert "ledger.months" in said
    assert "end soon" in said
