"""A connection lost at any message of a transaction loses no acknowledged transfer and makes none."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kernel import ids
from app.kernel.db import Database
from card import ledger, purchases
from card.ledger import Hold, Transfer, TransferCode
from card.ledger.models import HoldRow
from card.purchases import BillState, MerchantKind
from tests import engines
from tests.chaos import asking
from tests.chaos.verdict import judge
from tests.chaos.wire import Cut, Line
from tests.chaos.work import Accounts, Work
from tests.conftest import Servers, fresh

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
STEP = int(os.environ.get("CHAOS_STEP", "7"))  # ``make chaos`` tries every message
Answer = TypeVar("Answer")
SEED, GROUPS = 10, 2  # a fare, and more than any purse has: one group for each lane of the ledger


@pytest.fixture(scope="module")
def straight() -> Iterator[Database]:
    """A database on a server of its own: killing its processes is nobody else's loss."""
    with ExitStack() as stack:
        servers = Servers("wire", stack)
        server_url = servers.url(engines.EMBEDDED)
        engines.make_durable(server_url)
        database = Database(fresh(server_url, servers.template(server_url), "wire"))
        stack.callback(database.close)
        yield database


@pytest.fixture(scope="module")
def accounts(straight: Database) -> Accounts:
    return Accounts.open(straight, now=NOW, opening_minor=10**9)


@pytest.fixture(scope="module")
def upstream(straight: Database) -> Path:
    return Path(str(straight.engine.url.query["host"])) / ".s.PGSQL.5432"


def through(line: Line, straight: Database) -> Database:
    """The same database by way of the line."""
    url = straight.engine.url.update_query_dict({"host": str(line.folder)})
    return Database(url.render_as_string(hide_password=False), pool_size=2)


def post(database: Database, work: Work) -> dict[int, tuple[str, ...]]:
    """Post the work's groups one after another, as a careful caller."""
    poster = ledger.Poster(database, wait_seconds=0)
    answers = {
        number: tuple(outcome.status.value for outcome in asking.settle(poster, database, work.group(number)))
        for number in range(GROUPS)
    }
    poster.close()
    return answers


def messages_of(folder: Path, upstream: Path, straight: Database, act: Callable[[Database], object]) -> int:
    """How many messages ``act`` sends when nothing is cut."""
    line = Line(upstream, folder)
    with line.listening():
        database = through(line, straight)
        act(database)
        database.close()
    return line.messages


@pytest.mark.parametrize("cut", list(Cut))
def test_posts_survive_a_cut_at_every_message(
    tmp_path_factory: pytest.TempPathFactory, upstream: Path, straight: Database, accounts: Accounts, cut: Cut
) -> None:
    def work(at: int) -> Work:  # the same groups each time, with ids of their own
        return Work(seed=SEED, name="wire", begins=NOW + timedelta(hours=list(Cut).index(cut), seconds=at), accounts=accounts)

    folder = tmp_path_factory.mktemp("line")
    whole = messages_of(folder, upstream, straight, lambda database: post(database, work(0)))
    answered = {}
    for at in range(1 + list(Cut).index(cut), whole + 1, 2 * STEP if cut is Cut.KILL else STEP):
        line = Line(upstream, folder, at=at, cut=cut)
        with line.listening():
            database = through(line, straight)
            answered[work(at)] = post(database, work(at))
            database.close()
        assert line.happened, at
    verdict = persist(lambda: judge(straight, answered, asked=dict.fromkeys(answered, GROUPS)))
    ours = [sentence for sentence in verdict.wrong if "never asked for" not in sentence]
    assert not ours
    assert (verdict.seen["posted"], verdict.seen["refused"]) == (len(answered), len(answered))


def persist(act: Callable[[], Answer]) -> Answer:
    """Do it until the database is there to the end: a killed process takes all others with it, those of bystanders too."""
    while True:
        try:
            return act()
        except asking.AWAY:
            continue


def insist(database: Database, act: Callable[[Session], Answer]) -> Answer:
    """Do it until it is known to be done; every action of the ledger may be repeated."""

    def once() -> Answer:
        with database.transaction() as session:
            return act(session)

    return persist(once)


def reserve(database: Database, accounts: Accounts, cause: str) -> None:
    """Three holds: one posted in part, one voided, one expired; and a fare that is reversed in two steps."""
    purse, operator = accounts.purses[0], accounts.operators[0]

    def id_(name: str) -> UUID:
        return ids.derived_id(NOW, cause, name)

    for name in ("part", "void", "late"):
        found = Hold(
            id=id_(name), debit=purse, credit=operator, amount_minor=10, code=TransferCode.FARE,
            expires_at=NOW + timedelta(minutes=1 if name == "late" else 60), reference=cause,
        )  # fmt: skip
        insist(database, lambda session, found=found: ledger.hold(session, found, now=NOW))
    fare = Transfer(
        id=id_("fare"), debit=purse, credit=operator, amount_minor=20, code=TransferCode.FARE, event_at=NOW, reference=cause
    )  # fmt: skip
    insist(database, lambda session: ledger.post_all(session, [fare], now=NOW))
    insist(
        database,
        lambda session: ledger.post_hold(session, hold_id=id_("part"), transfer_id=id_("paid"), amount_minor=7, now=NOW),
    )
    insist(database, lambda session: ledger.void_hold(session, hold_id=id_("void"), now=NOW))
    expire(database, id_("late"))
    for name, amount in (("back", 5), ("rest", None)):
        insist(
            database,
            lambda session, name=name, amount=amount: ledger.reverse(
                session, original_id=fare.id, reversal_id=id_(name), amount_minor=amount, now=NOW
            ),
        )


def expire(database: Database, hold_id: UUID) -> None:
    """Expire what is late, again and again as the worker does: a row that a dying connection still locks is passed over."""

    def sweep(session: Session) -> bool:
        ledger.expire_holds(session, now=NOW + timedelta(minutes=2))
        return session.scalar(select(HoldRow.state).where(HoldRow.id == hold_id)) == "expired"

    while not insist(database, sweep):
        pass


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
def test_holds_and_reversals_survive_a_cut_at_every_message(
    tmp_path_factory: pytest.TempPathFactory, upstream: Path, straight: Database, accounts: Accounts, cut: Cut
) -> None:
    folder = tmp_path_factory.mktemp("line")
    whole = messages_of(folder, upstream, straight, lambda database: reserve(database, accounts, f"{cut}-whole"))
    purse = accounts.purses[0]
    for at in range(1 + list(Cut).index(cut), whole + 1, 3 * STEP - 2):  # a long story: every one of its messages if STEP is 1
        with straight.transaction() as session:
            before = ledger.balance(session, purse)
        line = Line(upstream, folder, at=at, cut=cut)
        with line.listening():
            database = through(line, straight)
            reserve(database, accounts, f"{cut}-{at}")
            database.close()
        assert line.happened, at
        with straight.transaction() as session:
            after = ledger.balance(session, purse)
        assert (before.posted_minor - after.posted_minor, after.held_minor - before.held_minor) == (7, 0), at
    with straight.transaction() as session:
        assert ledger.check_books(session).right


def present(straight: Database, holder_id: UUID, reference: str) -> UUID:
    """A bill over 7 fen."""
    tea = {"en": "Tea", "zh_Hans_CN": "茶"}

    def once(session: Session) -> UUID:
        purchases.open_merchant(session, merchant_id="tea", name=tea, kind=MerchantKind.SHOP, now=NOW)
        return purchases.present(
            session, merchant_id="tea", reference=reference, description=tea, amount_minor=7, holder_id=holder_id, now=NOW
        )

    return insist(straight, once)


def buy(database: Database, bill_id: UUID, holder_id: UUID) -> None:
    """Pay until it is known that it is paid."""
    while True:
        try:
            purchases.pay(database, bill_id=bill_id, holder_id=holder_id, by="person:wire", now=NOW)
        except (ledger.OutcomeUnknown, *asking.AWAY):
            continue
        return


@pytest.mark.parametrize("cut", list(Cut))
def test_a_purchase_survives_a_cut_at_every_message(
    tmp_path_factory: pytest.TempPathFactory, upstream: Path, straight: Database, cut: Cut
) -> None:
    folder, holder_id = tmp_path_factory.mktemp("line"), uuid4()
    with straight.transaction() as session:
        bank = ledger.open_account(session, ledger.chart.bank(), now=NOW)
        purse = ledger.open_account(session, ledger.chart.purse(holder_id), now=NOW)
        facts = {"amount_minor": 10_000, "code": TransferCode.OPENING, "event_at": NOW, "reference": "purchase"}
        ledger.post_all(session, [Transfer(id=uuid4(), debit=bank, credit=purse, **facts)], now=NOW)
    first = present(straight, holder_id, f"{cut}-{holder_id}")
    whole = messages_of(folder, upstream, straight, lambda database: buy(database, first, holder_id))
    bills = [first]
    for at in range(1 + list(Cut).index(cut), whole + 1, 2 * STEP if cut is Cut.KILL else STEP):
        bills.append(present(straight, holder_id, f"{cut}-{at}-{holder_id}"))
        line = Line(upstream, folder, at=at, cut=cut)
        with line.listening():
            database = through(line, straight)
            buy(database, bills[-1], holder_id)
            database.close()
        assert line.happened, at

    def as_it_stands(session: Session) -> tuple[list[BillState], list[int], int, bool]:
        references = [f"bill:{bill_id}" for bill_id in bills]
        return (
            [purchases.bill(session, bill_id).state for bill_id in bills],
            [len(ledger.transfers_by_reference(session, reference)) for reference in references],
            ledger.balance(session, purse).posted_minor,
            ledger.check_books(session).right,
        )

    paid, count = [BillState.PAID] * len(bills), len(bills)
    assert insist(straight, as_it_stands) == (paid, [1] * count, 10_000 - 7 * count, True)
