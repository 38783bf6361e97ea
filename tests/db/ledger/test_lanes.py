"""Both lanes give the serial answer: the same results, balances and running balances as a naive ledger."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import ids
from app.kernel.db import Database
from app.kernel.errors import Refusal
from card import ledger
from card.ledger import AccountId, Transfer, chart, posting
from card.ledger.models import TransferRow
from tests.unit.ledger import oracle

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "13"))
LENGTH = 40  # batches of a long history, of which there are as many as examples, in each lane on each engine


REFUSALS = ("insufficient-funds", "unknown-account", "accounts-do-not-mix", "transfer-conflict", "linked-refused")


class City:
    """The real ledger behind the places of the naive one: its accounts stay, what is posted is undone."""

    session: Session

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.transaction() as session:
            self.ids = self.open(session)

    @staticmethod
    def open(session: Session) -> list[AccountId]:
        """The accounts by their places, and one that is not there."""
        specs = [replace(chart.purse(str(place)), floor_minor=oracle.FLOORS[place]) for place in oracle.GUARDED]
        specs += [chart.operator(str(place)) for place in oracle.OPEN]
        specs.append(replace(chart.merchant("dollars"), currency="USD"))
        return [ledger.open_account(session, spec, now=oracle.NOW) for spec in specs] + [AccountId(2**40)]

    @contextmanager
    def undone(self) -> Iterator[oracle.Book]:
        """A transaction that leaves nothing behind, and an empty book to compare with."""
        with self.database.engine.connect() as connection, Session(connection) as self.session:
            yield oracle.Book()
            self.session.rollback()

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


def fare(debit: int, credit: int, amount_minor: int) -> Transfer:
    """A transfer over places."""
    return Transfer(
        id=ids.new_id(),
        debit=AccountId(debit),
        credit=AccountId(credit),
        amount_minor=amount_minor,
        code=ledger.TransferCode.FARE,
        event_at=oracle.NOW,
    )


def exactly(session: Session, groups: list[list[Transfer]]) -> list[ledger.Outcome]:
    return posting.post_exact(session, groups, now=oracle.NOW) if any(groups) else []


def by_the_door(session: Session, groups: list[list[Transfer]]) -> list[ledger.Outcome]:
    return ledger.post_groups(session, groups, now=oracle.NOW)


@pytest.mark.parametrize("lane", [exactly, by_the_door])
def test_any_history_ends_as_in_a_naive_ledger(database: Database, lane: Callable) -> None:
    city = City(database)

    @given(steps=oracle.steps)
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def history(steps: list) -> None:
        with city.undone() as book:
            now = oracle.NOW
            for kind, step in steps:
                if kind == "post":
                    found = lane(city.session, city.groups(step))
                    assert [(outcome.status.value, outcome.code) for outcome in found] == book.post(step)
                elif kind == "hold":
                    assert city.hold(step, now=now) == book.hold(step)
                else:
                    now += timedelta(minutes=1)
                    city.resolves_as(book, *step, now=now)
            city.agrees_with(book)

    history()


@pytest.mark.parametrize("lane", [exactly, by_the_door])
def test_long_histories_end_as_in_a_naive_ledger(database: Database, lane: Callable) -> None:
    city, answers = City(database), Counter[str]()

    @given(seed=st.integers(0, 2**64 - 1))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def history(seed: int) -> None:
        chance, now = oracle.Chance(seed), oracle.NOW
        with city.undone() as book:
            for _ in range(LENGTH):
                now += timedelta(minutes=1)
                if chance.random.random() < 0.3:
                    hold = chance.hold(book, now=now)
                    assert city.hold(hold, now=now) == book.hold(hold)
                if chance.random.random() < 0.2:
                    city.resolves_as(book, *chance.resolution(book), now=now)
                asked = chance.batch(book)
                found = lane(city.session, city.groups(asked))
                assert [(outcome.status.value, outcome.code) for outcome in found] == book.post(asked)
                answers.update(outcome.code or outcome.status.value for outcome in found)
                answers["batches"] += 1
            city.agrees_with(book)

    history()
    assert answers["batches"] >= EXAMPLES * LENGTH
    assert {"posted", "repeated", *REFUSALS} <= answers.keys(), "every answer was met"


def test_the_fast_lane_takes_exactly_the_batches_that_are_right_in_full(database: Database) -> None:
    city, taken = City(database), list[bool]()

    @given(first=oracle.clean_batches(), second=st.one_of(oracle.clean_batches(), oracle.groups))
    @example(first=[[fare(3, 0, 4)]], second=[[fare(0, 4, 3)], [fare(0, 4, 1)]])  # whatever is drawn: to the floor exactly,
    @example(first=[[fare(3, 0, 4)]], second=[[fare(0, 4, 3)], [fare(0, 4, 2)]])  # and one below it
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def batch(first: list, second: list) -> None:
        with city.undone() as book:
            by_the_door(city.session, city.groups(first))
            book.post(first)
            asked = [transfer for group in second for transfer in group]
            untouched = book.copied()
            right = all(status == "posted" for status, _ in book.post(second))
            if asked:
                found = posting.post_fast(city.session, list(chain.from_iterable(city.groups(second))), now=oracle.NOW)
                assert found is right
                taken.append(found)
            city.agrees_with(book if right else untouched)

    batch()
    assert {True, False} == set(taken)
