"""A city's real processes under load, hurt by a seeded plan, then judged.

Two posters with three callers each, a web server at which a resident pays bills, a worker that seals: each in a process of
its own, started again when it dies, as a service manager would. The plan comes from the seed and repeats; the interleaving of
real processes does not, which is what :mod:`tests.chaos.wire` is for.
"""

import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import httpx
from sqlalchemy import text

from app import migrate
from app.demo.cities import environment_of
from app.demo.visitor import HttpVisitor, Lost
from app.kernel import city, clock, ids
from app.kernel.db import CLOCK_AHEAD, Database, Right
from app.kernel.sealing import equip, sealer_from
from app.kernel.settings import Settings
from card import ledger, purchases
from card.purchases import MerchantKind
from services import people
from tests.chaos import asking, faults, machine_room, programs
from tests.chaos.faults import Fault, Strike
from tests.chaos.verdict import Verdict, judge
from tests.chaos.work import Accounts, Work
from tests.conftest import make_settings

LOADS = ("north", "south")
PASSWORD = "one-card-many-places"
PATIENCE_SECONDS = 180  # on a machine that does other things as well
CLOCK_STEPS = (-90.0, -2.0, 0.0, 2.0, 90.0)
JUMP_SECONDS = 400 * 86_400.0
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to."""

    verdict: Verdict
    struck: Counter[Fault]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far everybody is: groups answered to each load, bills paid on the page, batches sealed."""

    answered: tuple[int, ...]
    paid: int
    sealed: int

    def beyond(self, other: "Progress") -> bool:
        """Whether everybody has done more than at ``other``."""
        mine, theirs = (*self.answered, self.paid, self.sealed), (*other.answered, other.paid, other.sealed)
        return all(here > there for here, there in zip(mine, theirs, strict=True))

    def __str__(self) -> str:
        return f"{sum(self.answered):6,} answered, {self.paid:3} bills, {self.sealed:5,} sealed"


class Process:
    """One program of the city, started again whenever it is found dead."""

    def __init__(self, name: str, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.starts = 0
        self._arguments = arguments
        self._log = folder / f"{name}.log"
        self._environment = {**os.environ, **environment}
        self._running: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Start it unless it runs."""
        if self._running is None or self._running.poll() is not None:
            with self._log.open("ab") as log:
                self._running = subprocess.Popen(
                    [sys.executable, "-m", "tests.chaos.programs", *self._arguments],
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                )
            self.starts += 1

    def kill(self) -> None:
        """kill -9."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()


class City:
    """The processes of one city on one database."""

    def __init__(self, folder: Path, *, seed: int, own_volume: bool) -> None:
        self.folder = folder
        self.begins = clock.now()
        self.postgres = machine_room.Postgres(folder / "disk", own_volume=own_volume)
        migrate.upgrade(self.postgres.url)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.settings = make_settings(self.postgres.url, folder, public_url=f"http://localhost:{port}")
        self.database = opened(self.settings)
        accounts = Accounts.open(self.database, now=self.begins)
        (folder / "accounts.json").write_text(json.dumps(dataclasses.asdict(accounts)))
        programs.Facts(seed=seed, begins=self.begins).write(folder)
        self.works = [Work(seed=seed, name=name, begins=self.begins, accounts=accounts) for name in LOADS]
        environment = environment_of(self.settings)
        self.loads = [Process(name, ("load", str(folder), name), folder, environment) for name in LOADS]
        self.web = Process("web", ("web", str(folder), str(port)), folder, environment)
        self.worker = Process("worker", ("worker", str(folder)), folder, environment)
        self.payer = Payer(self.settings, self.database)
        self._sealed = 0

    @property
    def processes(self) -> list[Process]:
        """All of ours."""
        return [*self.loads, self.web, self.worker]

    def keep(self) -> None:
        """Be the service manager once."""
        self.postgres.revive()
        for process in self.processes:
            process.keep()

    def wait(self, ready: Callable[[], bool], *, within_seconds: float) -> bool:
        """Be the service manager until ``ready``; whether it became so in time."""
        until = time.monotonic() + within_seconds
        while not (found := ready()) and time.monotonic() < until:
            self.keep()
            time.sleep(0.1)
        return found

    def strike(self, strike: Strike) -> str:
        """Let a fault happen; what it hit."""
        at_once = {
            Fault.KILL_WEB: self.web.kill,
            Fault.KILL_WORKER: self.worker.kill,
            Fault.KILL_POSTGRES: self.postgres.kill,
            Fault.CUT_CONNECTIONS: self.postgres.cut_connections,
        }
        if strike.fault in at_once:
            at_once[strike.fault]()
            return ""
        match strike.fault:
            case Fault.KILL_LOAD:
                victim = self.loads[strike.choice % len(self.loads)]
                victim.kill()
                return victim.name
            case Fault.KILL_BACKEND:
                return self.postgres.kill_one(strike.choice)
            case Fault.STALL_POSTGRES:
                with self.postgres.stalled():
                    time.sleep(1)
            case Fault.FULL_DISK:
                with self.postgres.full_disk():
                    time.sleep(1)
            case Fault.STEP_CLOCK:
                return self._set_the_clock(CLOCK_STEPS[strike.choice % len(CLOCK_STEPS)])
            case Fault.JUMP_CLOCK:
                return self._set_the_clock(JUMP_SECONDS)
        return ""

    def _set_the_clock(self, wrong_seconds: float) -> str:
        """Let every process of the city's, but the database, have a clock that is wrong by so much."""
        (self.folder / "clock").write_text(str(wrong_seconds))
        return f"{wrong_seconds:+.0f} s"

    def answered(self) -> dict[Work, dict[int, tuple[str, ...]]]:
        """What the loads were answered."""
        return {work: programs.answers(self.folder, work.name) for work in self.works}

    def progress(self) -> Progress:
        """How far everybody is now; what the database knows counts as nothing while it is away."""
        try:
            with self.database.transaction() as session:
                self._sealed = session.execute(text("SELECT count(*) FROM card.ledger_seal")).scalar_one()
        except asking.AWAY:
            pass
        answered = tuple(len(found) for found in self.answered().values())
        return Progress(answered=answered, paid=len(self.payer.paid), sealed=self._sealed)

    def stop_loads(self) -> None:
        """End the loads and the payer, in the middle of whatever they do."""
        for process in self.loads:
            process.kill()
        self.payer.stop()

    def settle(self, *, within_seconds: float = 60) -> list[str]:
        """Wait until the worker has sealed everything by itself; what of the proofs is wrong."""
        (self.folder / "clock").write_text("0")
        until = time.monotonic() + within_seconds
        unsealed = -1
        while time.monotonic() < until:
            self.keep()
            try:
                with self.database.transaction() as session:
                    unsealed = session.execute(
                        text("SELECT (SELECT count(*) FROM card.ledger_batch) - (SELECT count(*) FROM card.ledger_seal)")
                    ).scalar_one()
                if unsealed == 0:
                    break
            except asking.AWAY:
                pass
            time.sleep(0.2)
        if unsealed:
            return [f"{unsealed} batches were not sealed within {within_seconds:.0f} seconds"]
        with self.database.transaction() as session:
            return [f"{found.kind.value} {found.subject}" for found in ledger.check_proofs(session)]

    def clocks(self, *, jumped: bool, within_seconds: float = 60) -> list[str]:
        """What a wrong clock did to the books, and whether somebody was told of it; any other alarm is a false one."""
        wrong = []
        with self.database.transaction() as session:
            late = session.execute(
                text("SELECT count(*) FROM card.ledger_batch WHERE posted_at > clock_timestamp() + :ahead"),
                {"ahead": CLOCK_AHEAD},
            ).scalar_one()
            if late:
                wrong.append(f"{late} batches are dated later than now")
            soon = clock.now() + 2 * CLOCK_AHEAD
            accounts = self.works[0].accounts
            for account in (*accounts.purses, *accounts.operators, accounts.bank):
                found, booked = ledger.balance_at(session, account, soon), ledger.balance(session, account).posted_minor
                if found != booked:
                    wrong.append(f"account {account} has {booked}, and {found} at an instant after everything")
        kinds: set[str] = set()
        until = time.monotonic() + within_seconds
        while jumped and "clock" not in kinds and time.monotonic() < until:
            self.keep()
            time.sleep(0.2)
            with self.database.transaction() as session:
                kinds = set(session.scalars(text("SELECT DISTINCT kind FROM card.ledger_alarm")))
        if jumped and "clock" not in kinds:
            wrong.append("the clock jumped, and no alarm was raised")
        return wrong + [f"a false alarm: {kind}" for kind in sorted(kinds - {"clock"})]

    def close(self) -> None:
        """End everything."""
        self.stop_loads()
        for process in self.processes:
            process.kill()
        self.database.close()
        self.postgres.stop()


def opened(settings: Settings) -> Database:
    """The city's database as the application has it."""
    database = Database.of(settings, Right.APPLICATION)
    equip(database, sealer_from(settings))
    city.equip(database, city.city_from(settings))
    return database


class Payer:
    """A resident who pays one bill after another on the web pages, and never believes silence."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.paid: list[str] = []
        at = clock.now()
        with database.transaction() as session:
            number = people.demonstration_number(date(1958, 3, 15), 2)
            self._holder = people.register(
                session,
                name="演示·林小满",
                name_latin="Demo Lin Xiaoman",
                identity_number=people.parse_identity_number(number, demonstration=True),
                username="lin",
                password=PASSWORD,
                now=at,
            )
            purchases.open_merchant(
                session, merchant_id="chaos-tea", name={"en": "Tea", "zh_Hans_CN": "茶"}, kind=MerchantKind.SHOP, now=at
            )
            purse = ledger.open_account(session, ledger.chart.purse(self._holder), now=at)
            bank = ledger.open_account(session, ledger.chart.bank(), now=at)
            opening = ledger.Transfer(
                id=ids.derived_id(at, "chaos", "payer"),
                debit=bank,
                credit=purse,
                amount_minor=10**7,
                code=ledger.TransferCode.OPENING,
                event_at=at,
                reference="payer:opening",
            )
            ledger.post_all(session, [opening], now=at)

    def start(self) -> None:
        """Begin to pay."""
        self._thread.start()

    def stop(self) -> None:
        """Pay no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        visitor = HttpVisitor(self._settings.public_url)
        number = 0
        while not self._stopping.is_set():
            try:
                bill = self._bill(number)
                visitor.open(f"/me/bills/{bill}?lang=en")
                if "/sign-in" in visitor.address:
                    visitor.send({"username": "lin", "password": PASSWORD})
                    continue
                if "To be paid" in visitor.text():
                    visitor.send(form="/pay")
                if "Paid from your card." in visitor.text() or "To be paid" not in visitor.text():
                    self.paid.append(bill)
                    number += 1
            except (httpx.HTTPError, Lost, *asking.AWAY):
                self._stopping.wait(0.1)
            self._stopping.wait(0.02)

    def _bill(self, number: int) -> str:
        with self._database.transaction() as session:
            return str(
                purchases.present(
                    session,
                    merchant_id="chaos-tea",
                    reference=f"tea-{number}",
                    description={"en": "Tea", "zh_Hans_CN": "茶"},
                    amount_minor=100 + number % 100,  # tens of thousands before the purse is empty
                    holder_id=self._holder,
                    now=clock.now(),
                )
            )

    def judge(self, verdict: Verdict) -> None:
        """Each bill that the page called paid has one transfer, and no bill is paid that has none."""
        with self._database.transaction() as session:
            booked = Counter(session.scalars(text("SELECT reference FROM card.transfer WHERE reference LIKE 'bill:%'")).all())
            bills = session.execute(text("SELECT 'bill:' || id AS reference, state FROM card.purchases_bill")).all()
        verdict.seen["bills paid on the page"] = len(self.paid)
        for bill in self.paid:
            verdict.claim(
                booked[f"bill:{bill}"] == 1, f"bill {bill} was paid on the page and has {booked[f'bill:{bill}']} transfers"
            )
        for reference, state in bills:
            verdict.claim(
                (state == "paid") == (booked[reference] == 1), f"{reference} is {state} with {booked[reference]} transfers"
            )


@contextmanager
def standing(folder: Path, *, seed: int) -> Iterator[City]:
    """A city that runs, for the length of the block."""
    with machine_room.volume(folder / "disk") as own_volume:
        made = City(folder, seed=seed, own_volume=own_volume)
        try:
            yield made
        finally:
            made.close()


def run(folder: Path, *, seed: int, strikes: int, say: Say) -> Result:
    """Load a city, strike ``strikes`` times, each time once everybody has gone on by themselves, then judge."""
    struck: Counter[Fault] = Counter()
    stuck: list[str] = []
    begun = time.monotonic()
    with standing(folder, seed=seed) as running:
        running.keep()
        running.payer.start()
        strike = None
        for strike in [*itertools.islice(faults.plan(seed), strikes), None]:
            before = running.progress()
            if not running.wait(lambda: running.progress().beyond(before), within_seconds=PATIENCE_SECONDS):  # noqa: B023
                stuck.append(f"after {sum(struck.values())} strikes not everybody went on: {before} → {running.progress()}")
            if strike is None or stuck:
                break
            time.sleep(strike.after_seconds)
            hit = running.strike(strike)
            struck[strike.fault] += 1
            say(f"{time.monotonic() - begun:6.1f} s  {running.progress()}  {strike.fault.value}{f' ({hit})' if hit else ''}")
        running.stop_loads()
        answered = running.answered()
        proofs = running.settle()
        clocks = running.clocks(jumped=struck[Fault.JUMP_CLOCK] > 0)
        asked = {work: max(found, default=-1) + programs.THREADS + 1 for work, found in answered.items()}
        verdict = judge(running.database, answered, asked=asked)
        verdict.wrong.extend(stuck + proofs + clocks)
        running.payer.judge(verdict)
        return Result(verdict=verdict, struck=struck)
