"""Both lanes give the serial answer: the same results, balances and running balances as a naive ledger."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel.db import Database
from app.kernel.errors import Refusal
from card import ledger
from card.ledger import AccountId, Transfer, chart, posting
from card.ledger.models import TransferRow
from tests.unit.ledger import oracle

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "40"))


@contextmanager
def undone(database: Database) -> Iterator[Session]:
    """A transaction that leaves nothing behind."""
    with database.engine.connect() as connection, Session(connection) as session:
        yield session
        session.rollback()


class City:
    """The real ledger behind the places of the naive one."""

    def __init__(self, session: Session) -> None:
        self.session = session
        specs = [replace(chart.purse(str(place)), floor_minor=oracle.FLOORS[place]) for place in oracle.GUARDED]
        specs += [chart.operator(str(place)) for place in oracle.OPEN]
        specs.append(replace(chart.merchant("dollars"), currency="USD"))
        self.ids = [ledger.open_account(session, spec, now=oracle.NOW) for spec in specs] + [AccountId(2**40)]

    def real(self, thing: Transfer | ledger.Hold) -> Transfer | ledger.Hold:
        return replace(thing, debit=self.ids[thing.debit], credit=self.ids[thing.credit])

    def groups(self, groups: list[list[Transfer]]) -> list[list[Transfer]]:
        return [[self.real(transfer) for transfer in group] for group in groups]

    def hold(self, hold: ledger.Hold, *, now: datetime) -> str:
        return code_of(partial(ledger.hold, self.session, self.real(hold), now=now))

    def resolves_as(
        self, book: oracle.Book, hold_id: UUID, to: str, transfer_id: UUID, amount: int | None, *, now: datetime
    ) -> None:
        """Post, void or expire a hold on both sides and compare the answers."""
        acts = {
            "posted": partial(ledger.post_hold, hold_id=hold_id, transfer_id=transfer_id, amount_minor=amount),
            "voided": partial(ledger.void_hold, hold_id=hold_id),
            "expired": ledger.expire_holds,
        }
        found = code_of(partial(acts[to], self.session, now=now))
        due = list(book.holds) if to == "expired" else [hold_id]
        codes = [book.resolve(one, to, transfer_id=transfer_id, amount=amount, now=now) for one in due]
        assert found == ("" if to == "expired" else codes[0])

    def agrees_with(self, book: oracle.Book) -> None:
        for place in (*oracle.GUARDED, *oracle.OPEN, oracle.DOLLARS):
            found = ledger.balance(self.session, self.ids[place])
            assert (found.posted_minor, found.held_minor) == (book.posted[place], book.held.get(place, 0)), place
        rows = self.session.execute(
            select(TransferRow.id, TransferRow.debit_after_minor, TransferRow.credit_after_minor).order_by(TransferRow.place)
        )
        assert [tuple(row) for row in rows] == book.lines
        assert ledger.check_books(self.session).findings == []


def code_of(act: Callable[[], object]) -> str:
    try:
        act()
    except Refusal as refusal:
        return refusal.code
    return ""


def exactly(session: Session, groups: list[list[Transfer]]) -> list[ledger.Outcome]:
    return posting.post_exact(session, groups, now=oracle.NOW) if any(groups) else []


def by_the_door(session: Session, groups: list[list[Transfer]]) -> list[ledger.Outcome]:
    return ledger.post_groups(session, groups, now=oracle.NOW)


@pytest.mark.parametrize("lane", [exactly, by_the_door])
def test_any_history_ends_as_in_a_naive_ledger(database: Database, lane: Callable) -> None:
    @given(steps=oracle.steps)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def history(steps: list) -> None:
        with undone(database) as session:
            city, book, now = City(session), oracle.Book(), oracle.NOW
            for kind, step in steps:
                if kind == "post":
                    found = lane(session, city.groups(step))
                    assert [(outcome.status.value, outcome.code) for outcome in found] == book.post(step)
                elif kind == "hold":
                    assert city.hold(step, now=now) == book.hold(step)
                else:
                    now += timedelta(minutes=1)
                    city.resolves_as(book, *step, now=now)
            city.agrees_with(book)

    history()


def test_the_fast_lane_takes_exactly_the_batches_that_are_right_in_full(database: Database) -> None:
    taken: list[bool] = []

    @given(first=oracle.clean_batches(), second=st.one_of(oracle.clean_batches(), oracle.groups))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def batch(first: list, second: list) -> None:
        with undone(database) as session:
            city, book = City(session), oracle.Book()
            by_the_door(session, city.groups(first))
            book.post(first)
            asked = [transfer for group in second for transfer in group]
            untouched = oracle.copy.deepcopy(book)
            right = all(status == "posted" for status, _ in book.post(second))
            if asked:
                found = posting.post_fast(session, [city.real(transfer) for transfer in asked], now=oracle.NOW)
                assert found is right
                taken.append(found)
            city.agrees_with(book if right else untouched)

    batch()
    assert any(taken)
    assert not all(taken)
