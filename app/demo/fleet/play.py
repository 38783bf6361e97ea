"""Set a fleet up, let its crews work, and hold the ledger against the journals and the oracle."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from app.demo.fleet import oracle
from app.demo.fleet.oracle import Seen
from app.demo.fleet.plan import METRO, Plan, PlannedGate
from app.kernel import clock, ids
from app.kernel.db import Database
from card import cards, ledger, transit
from card.credentials import Decision, Entitlement, Tap, cbor, raw_public, tap_from, to_base64url
from card.ledger import Transfer, TransferCode, chart

FEED: Final = Path(__file__).parents[1] / "feeds" / "320100"
CITY: Final = "320100"
MONEY: Final = 100_000
KILLED: Final = -9
LOOK_SECONDS: Final = 0.05
SETTLE_SECONDS: Final = 200.0  # since the last purse was right: a worker killed in a delivery keeps it for two minutes
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the fleet runs: Nanjing's server and database, and that of the foreign cards' city if there is one.

    ``programs`` is where the demonstration writes down its processes, for a plan that strikes them.
    """

    server: str
    database: Database
    abroad: Database | None
    folder: Path
    programs: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Rider:
    """A rider's phone, and the purse that pays: in ``database``, the city's that issued the card."""

    number: str
    holder_id: UUID
    static: bytes
    key: Ed25519PrivateKey
    database: Database


@dataclass(kw_only=True)
class Found:
    """What came of it. ``wrong`` names everything that does not agree; it must be empty."""

    seed: int
    taps: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    total_minor: int = 0
    oracle_minor: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether everything agrees."""
        return not self.wrong


def line() -> dict[str, int]:
    """The stops of metro line 1 and how many metres each lies from the first."""
    with (FEED / "stop_times.txt").open(encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row["trip_id"] == "nj-1-0"]
    return {row["stop_id"]: round(float(row["shape_dist_traveled"]) * 1000) for row in rows}


def play(plan: Plan, place: Place, say: Say) -> Found:
    """Carry the plan out and check it; ``say`` is told how far it got."""
    place.folder.mkdir(parents=True, exist_ok=True)
    riders = _riders(plan, place)
    say(f"{len(plan.riders)} cards, each with {MONEY // 100} yuan in its purse")
    files = _crews(plan, place, riders)
    _each(files, "prepare")
    say(f"{len(plan.gates)} gates enrolled and synced, in {len(files)} processes")
    found = Found(seed=plan.seed)
    found.kills = _each(files, "work")
    found.strikes.update(name for file in place.folder.glob("struck-*") for name in file.read_text().split())
    say(f"the crews are done; {found.kills} power cuts on the way, {_struck(found)}")
    _check(plan, place, riders, found)
    return found


def _struck(found: Found) -> str:
    return "killed: " + (", ".join(f"{name} {count}" for name, count in sorted(found.strikes.items())) or "no city's program")


def _riders(plan: Plan, place: Place) -> list[Rider]:
    made = []
    now = clock.now()
    for kind in plan.riders:
        key = Ed25519PrivateKey.generate()
        database = place.abroad if kind == "foreign" and place.abroad is not None else place.database
        with database.transaction() as session:
            until = now.date() + timedelta(days=30)
            held = (Entitlement(code=kind, scope_city=CITY, expires_on=until),) if kind.startswith("senior") else ()
            card = cards.issue(session, holder_id=ids.new_id(), kind="phone", entitlements=held, now=now)
            static = cards.bind_device(session, card.id, raw_public(key.public_key()), now)
            opening = Transfer(
                id=ids.new_id(),
                debit=ledger.open_account(session, chart.bank(), now=now),
                credit=ledger.open_account(session, chart.purse(card.holder_id), now=now),
                amount_minor=MONEY,
                code=TransferCode.OPENING,
                event_at=now,
            )
            ledger.post_all(session, [opening], now=now)
        rider = Rider(number=str(card.number), holder_id=card.holder_id, static=bytes(static), key=key, database=database)
        made.append(rider)
    return made


def _crews(plan: Plan, place: Place, people: Sequence[Rider]) -> list[Path]:
    files = []
    tokens = _tokens(plan, place)
    for crew, steps in enumerate(plan.crews):
        riders = {step.rider for step in steps if step.rider >= 0}
        mine = [gate for gate in plan.gates if gate.number // 10 % len(plan.crews) == crew]
        document = {
            "server": place.server,
            "gates": {gate.number: {"token": tokens[gate.number], "clock_ms": gate.clock_ms} for gate in mine},
            "riders": {
                rider: {"static": to_base64url(people[rider].static), "key": people[rider].key.private_bytes_raw().hex()}
                for rider in sorted(riders)
            },
            "steps": [(step.do, step.gate, step.rider, step.whom) for step in steps],
            "programs": str(place.programs or ""),
        }
        file = place.folder / f"crew-{crew}.json"
        file.write_text(json.dumps(document))
        file.chmod(0o600)
        files.append(file)
    return files


def _tokens(plan: Plan, place: Place) -> dict[int, str]:
    with place.database.transaction() as session:
        return {
            gate.number: transit.create_enrolment(
                session,
                operator_id=gate.operator,
                stop_id=gate.stop,
                line_id="" if gate.stop else "nj-bus-you2",
                mode=gate.mode,
                by="system",
                now=clock.now(),
            ).token
            for gate in plan.gates
        }


def _each(files: list[Path], verb: str) -> int:
    """Run every crew at once; one that is killed is started again. How often that was."""
    kills = 0
    running = {file: _start(file, verb) for file in files}
    while running:
        time.sleep(LOOK_SECONDS)
        for file, process in list(running.items()):
            status = process.poll()
            if status == KILLED:
                kills += 1
                running[file] = _start(file, verb)
            elif status is not None:
                assert status == 0, f"{file.stem} ended with {status}: {file.with_suffix('.log').read_text()[-2000:]}"
                del running[file]
    return kills


def _start(file: Path, verb: str) -> subprocess.Popen[bytes]:
    with file.with_suffix(".log").open("ab") as log:
        command = (sys.executable, "-m", "app.demo.fleet.crew", verb, str(file))
        return subprocess.Popen(command, env={**os.environ, "CREW": file.stem}, stdout=log, stderr=log)


def _check(plan: Plan, place: Place, riders: Sequence[Rider], found: Found) -> None:
    seen = _let_through(plan, place, found)
    kinds = {rider.number: kind for rider, kind in zip(riders, plan.riders, strict=True)}
    must = oracle.owed(seen, kinds, line())
    found.oracle_minor = sum(must.values())
    with place.database.transaction() as session:
        booked = _booked(session, seen)
        for key in sorted(must.keys() | booked.keys()):
            if must.get(key, 0) != booked.get(key, 0):
                found.wrong.append(f"{key}: {must.get(key, 0)} owed, {booked.get(key, 0)} booked")
        found.total_minor = sum(booked.values())
        stored = transit.count_taps(session, sorted(kinds))
        if stored != found.accepted:
            found.wrong.append(f"{found.accepted} taps let through, {stored} stored")
    found.wrong += _purses(riders, must)
    for city, database in (("at home", place.database), ("abroad", place.abroad)):
        if database is not None:
            with database.transaction() as session:
                if not ledger.check_books(session).right:
                    found.wrong.append(f"the books {city} do not balance")


def _let_through(plan: Plan, place: Place, found: Found) -> list[Seen]:
    """What the gates' journals say; every record must have been confirmed by the city."""
    seen: list[Seen] = []
    for gate in plan.gates:
        for tap, state in _journal(place.folder / f"gate-{gate.number}" / "journal.sqlite"):
            found.taps += 1
            if tap.decision is not Decision.ACCEPTED:
                found.refused[tap.reason] += 1
            else:
                found.accepted += 1
                seen.append(_seen(gate, tap))
            if state != "stored":
                found.wrong.append(f"gate {gate.number}: record {tap.boot_id}/{tap.seq} is {state}")
    return seen


def _purses(riders: Sequence[Rider], must: Mapping[tuple[str, int, str], int]) -> list[str]:
    """Whose purse did not pay what its rides cost. Another city charges its own purse, once the workers have told it."""
    owed: Counter[str] = Counter()
    for (card, _, _), fen in must.items():
        owed[card] += fen
    deadline = time.monotonic() + SETTLE_SECONDS
    late = list(riders)
    while True:
        before, late = late, [rider for rider in late if _spent(rider) != owed[rider.number]]
        if len(late) < len(before):
            deadline = time.monotonic() + SETTLE_SECONDS
        if not late or time.monotonic() > deadline:
            return [f"{rider.number}: {owed[rider.number]} owed, {_spent(rider)} taken from the purse" for rider in late]
        time.sleep(1)


def _spent(rider: Rider) -> int:
    with rider.database.transaction() as session:
        purse = ledger.account_id(session, chart.purse(rider.holder_id))
        return MONEY - ledger.balance(session, purse).posted_minor


def _booked(session: Session, seen: list[Seen]) -> dict[tuple[str, int, str], int]:
    """What the ledger itself has under the reference of each card-day and operator, in the oracle's terms."""
    days = {(tap.card, (tap.at_ms - oracle.DAY_BEGINS) // oracle.DAY) for tap in seen}
    operators = {"metro": METRO, "bus": "nj-bus"}
    accounts = {
        name: ledger.account_id(session, chart.operator(operator))
        for name, operator in operators.items()
        if any(bool(tap.stop) is (name == "metro") for tap in seen)
    }
    booked: dict[tuple[str, int, str], int] = defaultdict(int)
    for card, day in days:
        civil = date.fromordinal(date(1970, 1, 1).toordinal() + day + 1)
        for name, account in accounts.items():
            reference = f"card-day:{card}:{civil.isoformat()}:{operators[name]}"
            for transfer in ledger.transfers_by_reference(session, reference):
                sign = (transfer.credit == account) - (transfer.debit == account)
                booked[card, day, name] += sign * transfer.amount_minor
    return {key: fen for key, fen in booked.items() if fen}


def _seen(gate: PlannedGate, tap: Tap) -> Seen:
    return Seen(
        card=tap.card_number,
        kind=tap.kind.value,
        stop=gate.stop,
        at_ms=tap.at_ms,
        token=f"{tap.device_kid.hex()}:{tap.counter}",
    )


def _journal(file: Path) -> list[tuple[Tap, str]]:
    """Every record of a gate with its state, read from the disk by its own means."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT record, state FROM tap ORDER BY place").fetchall()
    finally:
        connection.close()
    return [(tap_from(cbor.read(record)), state) for record, state in rows]


def report(found: Found, seconds: float) -> list[str]:
    """The end in words."""
    refused = ", ".join(f"{count} {reason}" for reason, count in found.refused.most_common()) or "none"
    lines = [
        f"Seed {found.seed}: {found.taps} taps in the journals, {found.accepted} let through; refused: {refused}.",
        f"The ledger has ¥{found.total_minor / 100:,.2f}; the oracle says ¥{found.oracle_minor / 100:,.2f}.",
        f"{found.kills} power cuts; {_struck(found)}. {seconds:.0f} seconds.",
    ]
    if found.right:
        return [*lines, "Every tap that was let through is in the ledger once, at its price, and every purse paid it."]
    return [*lines, f"{len(found.wrong)} things do not agree:", *(f"  {wrong}" for wrong in found.wrong[:20])]
