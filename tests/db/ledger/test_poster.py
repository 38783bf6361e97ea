"""Single posts share commits: each caller gets its own answer, and nobody waits behind a queue without end."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Never
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.kernel import audit, ids
from app.kernel.audit import AuditEntry
from app.kernel.db import Database
from app.kernel.errors import IllegalMove
from card import ledger
from card.ledger import AccountId, Poster, Transfer, TransferCode, chart, posting, queries

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


@pytest.fixture
def places(database: Database) -> tuple[AccountId, AccountId]:
    """A purse with 1,000 fen and an operator."""
    with database.transaction() as session:
        bank, purse, metro = (
            ledger.open_account(session, spec, now=NOW) for spec in (chart.bank(), chart.purse("p"), chart.operator("m"))
        )
        ledger.post_all(session, [fare((bank, purse), 1000, "opening")], now=NOW)
    return purse, metro


@pytest.fixture
def poster(database: Database) -> Iterator[Poster]:
    made = Poster(database)
    yield made
    made.close()


def fare(places: tuple[AccountId, AccountId], amount_minor: int, *cause: str) -> Transfer:
    return Transfer(
        id=ids.derived_id(NOW, *cause),
        debit=places[0],
        credit=places[1],
        amount_minor=amount_minor,
        code=TransferCode.FARE,
        event_at=NOW,
    )


def test_callers_at_once_share_batches_and_each_gets_its_own_answer(
    database: Database, places: tuple[AccountId, AccountId], poster: Poster
) -> None:
    def pay(number: int) -> list[str]:
        return [poster.post([fare(places, 7, str(number), str(n))])[0].status.value for n in range(10)]

    with ThreadPoolExecutor(16) as pool:
        answers = [status for found in pool.map(pay, range(16)) for status in found]
    assert answers.count("posted") == 1000 // 7
    assert answers.count("refused") == 160 - 1000 // 7
    with database.transaction() as session:
        assert ledger.balance(session, places[0]).posted_minor == 1000 % 7
        report = ledger.check_books(session)
    assert report.findings == []
    assert report.batches < report.transfers, "commits were shared"


def test_a_group_is_booked_together_or_not_at_all(
    database: Database, places: tuple[AccountId, AccountId], poster: Poster
) -> None:
    outcomes = poster.post([fare(places, 600, "a"), fare(places, 600, "b")])
    assert [outcome.code for outcome in outcomes] == ["linked-refused", "insufficient-funds"]
    both = poster.post([fare(places, 600, "c"), fare(places, 400, "d")])
    assert [outcome.status.value for outcome in both] == ["posted", "posted"]


def test_one_callers_broken_transfer_stays_its_own(database: Database, places: tuple[AccountId, AccountId]) -> None:
    poster = Poster(database, wait_seconds=0.3)
    broken = replace(fare(places, 1, "broken"), reference="\x00")  # PostgreSQL stores no such text
    with ThreadPoolExecutor(3) as pool:
        before, wrong, after = (
            pool.submit(poster.post, [transfer]) for transfer in (fare(places, 1, "x"), broken, fare(places, 1, "y"))
        )
        assert before.result()[0].status.value == after.result()[0].status.value == "posted"
        assert wrong.exception() is not None
    poster.close()


def beside(session: Session, subject: str) -> None:
    """What a caller writes beside its transfers; the one called ``bad`` raises."""
    audit.record(session, actor="system", action="test.post", subject=subject, at=NOW)
    if subject == "bad":
        raise IllegalMove(subject, state="bad")


def written(session: Session) -> list[str]:
    return sorted(session.scalars(select(AuditEntry.subject).where(AuditEntry.action == "test.post")))


@contextmanager
def held_up(database: Database, poster: Poster, places: tuple[AccountId, AccountId]) -> Iterator[None]:
    """The purse's balance is locked by somebody else, and a first post waits for it: whatever comes meanwhile is one batch."""
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            queries.lock_positions(session, [places[0]])
            first = pool.submit(poster.post, [fare(places, 1, "first")], timeout_seconds=60)
            while not session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                time.sleep(0.01)
            yield
        first.result()


def gathered(poster: Poster, count: int) -> None:
    """Wait until so many groups wait."""
    while poster._queue.qsize() < count:
        time.sleep(0.01)


def test_what_a_caller_writes_beside_its_transfers_is_in_the_same_commit(
    database: Database, places: tuple[AccountId, AccountId], poster: Poster
) -> None:
    names = [str(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        with held_up(database, poster, places):
            posts = [
                pool.submit(poster.post, [fare(places, 5, name)], then=partial(beside, subject=name), timeout_seconds=60)
                for name in names
            ]
            gathered(poster, len(names))
        assert [post.result()[0].status.value for post in posts] == ["posted"] * len(names)
    with database.transaction() as session:
        assert written(session) == names
        assert {ledger.booking(session, fare(places, 5, name).id).batch_no for name in names} == {
            ledger.booking(session, fare(places, 5, "0").id).batch_no
        }, "they share a batch"
        assert ledger.check_books(session).findings == []


def test_one_whose_own_rows_fail_loses_its_transfers_and_hurts_nobody(
    database: Database, places: tuple[AccountId, AccountId], poster: Poster
) -> None:
    names = ["a", "b", "bad", "c", "dear"]
    with ThreadPoolExecutor(5) as pool:
        with held_up(database, poster, places):
            posts = {
                name: pool.submit(
                    poster.post,
                    [fare(places, 5000 if name == "dear" else 5, name)],
                    then=partial(beside, subject=name),
                    timeout_seconds=60,
                )
                for name in names
            }
            gathered(poster, len(names))
        for name in ("a", "b", "c"):
            assert posts[name].result()[0].status.value == "posted"
        assert posts["dear"].result()[0].code == "insufficient-funds"
        with pytest.raises(IllegalMove):
            posts["bad"].result()
    with database.transaction() as session:
        assert written(session) == ["a", "b", "c"]
        assert ledger.balance(session, places[0]).posted_minor == 1000 - 1 - 15
        assert told(session, fare(places, 5, "bad").id) == "unknown-transfer"
        assert ledger.check_books(session).findings == []


@pytest.mark.parametrize(("remember", "again"), [(True, "insufficient-funds"), (False, "")])
def test_nothing_is_written_beside_a_refusal_or_twice_beside_a_repeat(
    database: Database, places: tuple[AccountId, AccountId], poster: Poster, remember: bool, again: str
) -> None:
    dear = fare(places, 1001, "dear")

    def ask() -> ledger.Outcome:
        return poster.post([dear], then=partial(beside, subject="dear"), remember=remember)[0]

    assert ask().code == "insufficient-funds"
    with database.transaction() as session:
        assert written(session) == []
        bank = ledger.account_id(session, chart.bank())
        ledger.post_all(session, [fare((bank, places[0]), 1, "more")], now=NOW)
    assert ask().code == again, "a refusal that is not remembered may be tried again"
    assert ask().code == again
    with database.transaction() as session:
        assert written(session) == ([] if again else ["dear"])
        assert ledger.balance(session, places[0]).posted_minor == (1001 if again else 0)


def test_a_process_has_one_poster_for_its_database_and_it_ends_with_it(
    database_url: str, places: tuple[AccountId, AccountId]
) -> None:
    own = Database(database_url, pool_size=2)
    with ThreadPoolExecutor(8) as pool:
        (poster,) = set(pool.map(ledger.poster_of, [own] * 8))
    poster.post([fare(places, 1, "x")])
    thread = poster._thread
    assert thread is not None
    assert thread.is_alive()
    own.close()
    assert not thread.is_alive()


def test_a_full_queue_turns_callers_away_and_a_late_answer_can_be_asked_for(
    database: Database, places: tuple[AccountId, AccountId], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go, began = threading.Event(), threading.Event()
    really = posting.post_groups

    def slow(*args: object, **facts: object) -> list[ledger.Outcome]:
        began.set()
        may_go.wait(20)
        return really(*args, **facts)

    monkeypatch.setattr(posting, "post_groups", slow)
    poster = Poster(database, wait_seconds=0, waiting=1)
    late, turned_away, waits = (fare(places, 5, cause) for cause in ("late", "away", "waits"))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(poster.post, [late], timeout_seconds=0.5)
        assert began.wait(20)
        second = pool.submit(poster.post, [waits])
        while poster._queue.empty():
            pass
        with pytest.raises(ledger.LedgerBusy):
            poster.post([turned_away])
        with pytest.raises(ledger.OutcomeUnknown):
            first.result()
        may_go.set()
        assert second.result()[0].status.value == "posted"
    poster.close()
    with database.transaction() as session:
        assert ledger.outcome_of(session, late.id).status.value == "posted"
        with pytest.raises(ledger.UnknownTransfer):
            ledger.outcome_of(session, turned_away.id)


def test_a_fault_of_ours_reaches_every_caller(
    database: Database, places: tuple[AccountId, AccountId], monkeypatch: pytest.MonkeyPatch, poster: Poster
) -> None:
    def fail(*_: object, **__: object) -> Never:
        raise RuntimeError("bug")

    monkeypatch.setattr(posting, "post_groups", fail)
    with pytest.raises(RuntimeError, match="bug"):
        poster.post([fare(places, 1, "x")])
    monkeypatch.undo()
    assert poster.post([fare(places, 1, "x")])[0].status.value == "posted"


def die(*_: object, **__: object) -> Never:
    """What no process survives, and none can tidy up after."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")


def post_and_die(url: str, transfer: Transfer, moment: str) -> None:
    """In a process of its own: hand ``transfer`` to a poster, and die when it is all written, or when it is committed."""
    really = posting.post_groups

    def post_then_die(*args: object, **facts: object) -> Never:
        really(*args, **facts)
        die()

    if moment == "before the commit":
        posting.post_groups = post_then_die
    else:
        Future.set_result = die
    Poster(Database(url, pool_size=1)).post([transfer], timeout_seconds=60)


@pytest.mark.parametrize(
    ("moment", "amount", "asked", "repeated"),
    [
        ("before the commit", 400, "unknown-transfer", ("posted", "")),
        ("before the commit", 1001, "unknown-transfer", ("refused", "insufficient-funds")),
        ("after the commit", 400, "posted", ("repeated", "")),
        ("after the commit", 1001, "insufficient-funds", ("refused", "insufficient-funds")),
    ],
)
def test_a_poster_that_is_killed_before_its_answer_leaves_the_truth_to_be_asked_for(
    database: Database,
    database_url: str,
    places: tuple[AccountId, AccountId],
    poster: Poster,
    moment: str,
    amount: int,
    asked: str,
    repeated: tuple[str, str],
) -> None:
    transfer = fare(places, amount, "the last")
    dying = multiprocessing.get_context("spawn").Process(target=post_and_die, args=(database_url, transfer, moment))
    dying.start()
    dying.join(60)
    assert dying.exitcode == -signal.SIGKILL
    with database.transaction() as session:
        assert told(session, transfer.id) == asked
    again = poster.post([transfer])[0]
    assert (again.status.value, again.code) == repeated
    after = poster.post([transfer])[0]
    assert (after.status.value, after.code) == (("refused", again.code) if again.refused else ("repeated", ""))
    with database.transaction() as session:
        assert ledger.balance(session, places[0]).posted_minor == (1000 if again.refused else 600)
        assert ledger.check_books(session).findings == []


def told(session: Session, transfer_id: UUID) -> str:
    """The answer to asking by id, in a word."""
    try:
        found = ledger.outcome_of(session, transfer_id)
    except ledger.UnknownTransfer as refusal:
        return refusal.code
    return found.code or found.status.value
