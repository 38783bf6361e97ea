"""``python -m benchmarks.fares``: what fares cost to compute: a card-day of 60 taps, a what-if over a month, a day's statement.

The card-day is measured in CPU time of one thread, with a past of 40 fares: under Suzhou's published fares (bands, concessions,
overtime, a rolling cap, month tickets), and with transfers and four caps over metro and bus on top. The what-if prices
synthetic, seeded taps of a month (60 a card) as published and under a draft, in ``--processes``, each part read by ``COPY``
from a database in which the taps lie in the order of time. The statement sums a day with a million journeys and reconciles it
with the ledger. ``python -m benchmarks what-if --taps 20000000`` runs a whole city's month.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

from app import migrate
from app.demo import postgres
from app.kernel import city, clock
from app.kernel.db import Database
from card import fares, ledger, transit
from card.fares import Cap, Names, PastFare, Rider, Tap, Tariff, Tariffs, Window
from card.ledger.rules import place_of
from card.transit import repricing

FEEDS = Path(__file__).parents[1] / "app" / "demo" / "feeds"
CITY, METRO, BUS = "320500", "sz-metro", "sz-bus"
MONTH = date(2026, 3, 1)
AT_MOST = "  at most 200"
TRANSFERS = (
    "from_leg_group_id,to_leg_group_id,transfer_count,duration_limit,duration_limit_type,fare_transfer_type,fare_product_id\n"
    "metro,bus,,5400,2,1,off\nbus,bus,2,5400,1,0,\n"
)
LEG_RULES = "leg_group_id,network_id,fare_product_id\nbus,sz-bus,bus-single\nmetro,metro,bus-single\n"
PRODUCTS = "fare_product_id,amount,currency\nbus-single,2.00,CNY\noff,-1.00,CNY\n"


def everything_on() -> Tariffs:
    """Suzhou's fares with transfers between metro and bus and a cap for every window, one over both operators."""
    files = {path.name: path.read_bytes() for path in (FEEDS / CITY).iterdir()}
    files |= {
        "fare_transfer_rules.txt": TRANSFERS.encode(),
        "fare_leg_rules.txt": LEG_RULES.encode(),
        "fare_products.txt": PRODUCTS.encode(),
        "networks.txt": b"network_id,network_name\nsz-bus,Bus\nmetro,Metro\n",
        "route_networks.txt": b"network_id,route_id\nsz-bus,sz-bus-you1\nmetro,sz-1\nmetro,sz-2\n",
    }
    nobody = Names(en="", zh="")
    caps = tuple(
        Cap(
            id=window.value,
            window=window,
            minutes=1440,
            amount_minor=amount,
            operators=frozenset({METRO, BUS}),
            local_only=False,
            names=nobody,
        )
        for window, amount in (
            (Window.ROLLING, 9_000),
            (Window.DAY, 8_000),
            (Window.WEEK, 20_000),
            (Window.MONTH, 60_000),
        )
    )
    found = fares.publish(fares.read_files(files), city=CITY).tariffs
    return Tariffs.of(*(replace(tariff, caps=caps) for tariff in found))


def metro_taps(tariffs: Tariffs) -> list[Tap]:
    """30 journeys by metro of one card in one day."""
    stops = sorted({stop for stop, _ in tariffs.versions[METRO][0].distances})
    morning, taps = datetime(2026, 3, 20, 22, tzinfo=UTC), []
    for number in range(30):
        ends = stops[(7 * number) % len(stops)], stops[(11 * number + 3) % len(stops)]
        for kind, stop, minute in (("entry", ends[0], 0), ("exit", ends[1], 18)):
            at = morning + timedelta(minutes=40 * number + minute)
            token = f"device:{len(taps)}"
            rider = Rider(issuer=CITY)
            taps.append(
                Tap(
                    key=f"t/{number}/{kind}",
                    at=at,
                    kind=kind,
                    operator=METRO,
                    stop_id=stop,
                    line="sz-1",
                    token=token,
                    rider=rider,
                )
            )
    return taps


def sixty_taps(tariffs: Tariffs) -> list[Tap]:
    """24 journeys by metro and 12 bus rides of one card in one day; every tap with a rider of its own, as from the database."""
    stops = sorted({stop for stop, _ in tariffs.versions[METRO][0].distances})
    morning = datetime(2026, 3, 20, 22, tzinfo=UTC)
    taps = []
    for number in range(24):
        begin, end = stops[(7 * number) % len(stops)], stops[(11 * number + 3) % len(stops)]
        ways = [("entry", begin, 0, METRO, "sz-1"), ("exit", end, 18, METRO, "")]
        if number % 2:
            ways.append(("ride", "sz-bus-nanmen", 25, BUS, "sz-bus-you1"))
        for kind, stop, minute, operator, line in ways:
            taps.append(
                Tap(
                    key=f"terminal/{number}/{kind}",
                    at=morning + timedelta(minutes=45 * number + minute),
                    kind=kind,
                    operator=operator,
                    stop_id=stop,
                    line=line,
                    token=f"device:{len(taps)}",
                    rider=Rider(issuer=CITY),
                )
            )
    assert len(taps) == 60
    return taps


def card_day(rounds: int) -> None:
    """Microseconds of CPU for a card-day of 60 taps."""
    tariffs = everything_on()
    taps, rider = sixty_taps(tariffs), Rider(issuer=CITY)
    past = [
        PastFare(at=datetime(2026, 3, 1 + n // 2, 8 + n % 2, tzinfo=UTC), operator=METRO, capped_minor=475) for n in range(40)
    ]

    def cpu(work: object, times: int) -> float:
        found = []
        for _ in range(rounds):
            begun = time.thread_time_ns()
            for _ in range(times):
                work()  # type: ignore[operator]
            found.append((time.thread_time_ns() - begun) / times / 1000)
        return statistics.median(found)

    published = Tariffs.of(*fares.publish(fares.read_feed(FEEDS / CITY), city=CITY).tariffs)
    metro = metro_taps(published)
    priced = fares.charge(metro, published, rider, past)
    print(f"a card-day of {len(metro)} taps, {len(priced)} journeys, Suzhou's fares as published; CPU microseconds")
    show("  priced", cpu(lambda: fares.charge(metro, published, rider, past).total_minor, 300), 1, AT_MOST)
    show("  priced, and every reason written out", cpu(lambda: fares.charge(metro, published, rider, past).journeys, 100), 1)
    priced = fares.charge(taps, tariffs, rider, past)
    print(f"a card-day of {len(taps)} taps, {len(priced)} journeys, {priced.total_minor} fen, every rule on; CPU microseconds")
    show("  priced", cpu(lambda: fares.charge(taps, tariffs, rider, past).total_minor, 300), 1, AT_MOST)
    show("  priced, and every reason written out", cpu(lambda: fares.charge(taps, tariffs, rider, past).journeys, 100), 1)


def show(name: str, value: float, decimals: int = 0, unit: str = "") -> None:
    """One line of the table."""
    print(f"{name:<62}{value:>14,.{decimals}f}{unit}", flush=True)


TAPS = """
INSERT INTO card.tap (terminal_id, boot_id, seq, upload_id, digest, prev, kind, device_at, skew_ms, at, received_at, card_day,
  card_number, issuer, counter, device_kid, status_index, entitlements, decision, reason, verdict, list_seq, tariff_version, qr,
  operator_id, stop_id, line_id, liability, quarantined)
SELECT '00000000-0000-7000-8000-000000000001', 'b', %(day)s::bigint * 100000000 + row_number() OVER (),
  '00000000-0000-7000-8000-000000000001', '', '', kind, at, 0, at, at, %(on)s, number, issuer, %(day)s * 10 + n,
  decode(lpad(to_hex(card), 16, '0'), 'hex'), card, entitlements, 'accepted', '', '', 1, '', '',
  CASE WHEN kind = 'ride' THEN 'sz-bus' ELSE 'sz-metro' END, stop,
  CASE WHEN kind = 'ride' THEN 'sz-bus-you1' ELSE 'sz-1' END, 'issuer', false
FROM (
  SELECT card, n, kind,
    CASE WHEN card %% 20 = 0 THEN '31320100' ELSE '31320500' END || lpad(card::text, 11, '0') AS number,
    CASE WHEN card %% 20 = 0 THEN '320100' ELSE '320500' END AS issuer,
    CASE card %% 10
      WHEN 1 THEN '{"held": [{"code": "senior-60", "scope_city": "320500", "expires_on": "2030-12-31"}]}'
      WHEN 2 THEN '{"held": [{"code": "senior-70", "scope_city": "320500", "expires_on": "2030-12-31"}]}'
      ELSE '{"held": []}' END::jsonb AS entitlements,
    %(begin)s::timestamptz + make_interval(mins => minute + (card %% 50)::int, secs => (card * 7 + %(day)s) %% 60) AS at,
    CASE WHEN kind = 'ride' THEN 'sz-bus-nanmen'
         ELSE (%(stops)s::text[])[1 + (CASE WHEN home THEN card * 3 ELSE card * 5 + 7 END) %% %(count)s] END AS stop
  FROM generate_series(1, %(cards)s::bigint) AS card
  CROSS JOIN (VALUES (1, 'entry', 60, true), (2, 'exit', 95, false), (3, 'entry', 640, false), (4, 'exit', 674, true),
                     (5, 'ride', 700, true)) AS way (n, kind, minute, home)
  WHERE (card * 2654435761 + %(day)s * 40503) %% 31 < 15
    AND (kind <> 'ride' OR (card + %(day)s) %% 10 = 0) AND NOT (n = 4 AND (card + %(day)s) %% 50 = 0)
) AS made
ORDER BY at
"""


def load_taps(url: str, *, taps: int) -> int:
    """A month of taps for as many cards as make about ``taps``, in the order of time; how many there are."""
    feed = fares.publish(fares.read_feed(FEEDS / CITY), city=CITY)
    stops = sorted({stop.stop_id for line in feed.lines if line.rail for stop in line.stops})
    cards = taps // 60
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP INDEX card.ix_tap_card_number")
        connection.execute("DROP INDEX card.ix_tap_operator_id")
        for day in range(31):
            on = MONTH + timedelta(days=day)
            begin = datetime(on.year, on.month, on.day, 6, tzinfo=clock.SHANGHAI)
            values = {"day": day, "on": on, "begin": begin, "cards": cards, "stops": stops, "count": len(stops)}
            connection.execute(TAPS, values)
        connection.execute("CREATE INDEX ix_tap_card_number ON card.tap (card_number, card_day)")
        connection.execute("CREATE INDEX ix_tap_operator_id ON card.tap (operator_id, received_at)")
        connection.execute("VACUUM ANALYZE card.tap")
        [found] = connection.execute("SELECT count(*) FROM card.tap").fetchone()
    return int(found)


def opened(folder: Path) -> tuple[str, Database]:
    """A new database with Suzhou's feed in it."""
    server = postgres.start(folder / "pg")
    url = postgres.ensure_database(server, f"bench_{time.time_ns()}")
    migrate.upgrade(url)
    database = Database(url, pool_size=2)
    city.equip(database, city.City(code=CITY, keys_dir=folder / "keys"))
    with database.transaction() as session:
        transit.import_feed(session, FEEDS / CITY, feed_id=CITY, by="bench", now=clock.now())
    return url, database


def what_if(url: str, database: Database, *, taps: int, processes: int) -> None:
    """Taps a second of a what-if, and what a city's month of 20 million would take at that rate."""
    begun = time.perf_counter()
    loaded = load_taps(url, taps=taps)
    print(f"\na what-if over {loaded:,} taps of {MONTH:%B %Y}; loaded in {time.perf_counter() - begun:,.0f} s", flush=True)
    files = {path.name: path.read_bytes() for path in (FEEDS / CITY).iterdir()}
    files["concessions.txt"] = files["concessions.txt"].replace(b"local-card,95", b"local-card,90")
    drafted: Tariff = next(one for one in fares.publish(fares.read_files(files), city=CITY).tariffs if one.operator == METRO)
    begun = time.perf_counter()
    last = MONTH + timedelta(days=30)
    with database.transaction() as session:
        made = repricing.plan(session, drafted=drafted, first=MONTH, last=last)
        ends, cards = repricing.bounds(session, operator_id=METRO, first=MONTH, last=last)
    cut = time.perf_counter() - begun
    found = transit.WhatIf(operator_id=METRO, first=MONTH, last=last)
    read, told = 0, time.perf_counter()
    for done, (_, groups, count) in enumerate(
        repricing.each_part(made, ends, range(len(ends)), url=url, processes=processes), start=1
    ):
        found.count(groups)
        read += count
        if time.perf_counter() - told > 5 or done == len(ends):
            told = time.perf_counter()
            print(
                f"  {done:>5} of {len(ends)} parts, {read:>12,} taps, {read / (told - begun):>9,.0f} a second", file=sys.stderr
            )
    took = time.perf_counter() - begun
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = found.total
    show(f"  {processes} processes, {cards:,} cards in {len(ends)} parts: seconds", took, 1)
    show("  of these to cut it into parts", cut, 1)
    show("  taps a second", read / took)
    show("  CPU of the pricing processes, microseconds a tap", 1e6 * (children.ru_utime + children.ru_stime) / (read or 1), 1)
    show("  the largest of them, MB", children.ru_maxrss / 1024)
    show("  the process that hands out the parts, MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    show("  20 million taps at this rate, minutes", 20e6 / (read / took) / 60, 1)
    show("  paid, yuan", total.now_minor / 100, 2)
    show("  under the draft, yuan", total.draft_minor / 100, 2)


POSTINGS = """
INSERT INTO card.fare_posting (id, card_number, issuer, card_day, operator_id, revision, amount_minor, total_minor, means,
  liability, cause, posted_at)
SELECT id, '31320500' || lpad((n %% %(journeys)s)::text, 11, '0'), '320500', %(on)s, 'sz-metro', 1 + n / %(journeys)s,
  CASE WHEN n < %(journeys)s THEN 300 + n %% 500 ELSE -100 END, 300, 'purse', 'issuer', '[]', at
FROM made ORDER BY n
"""
BOOKED = """
INSERT INTO card.transfer (id, place, debit, credit, amount_minor, event_at, code, reference)
SELECT id, ((1000 + n / 2000) * %(leaves)s::bigint) + n %% 2000,
  CASE WHEN n < %(journeys)s THEN %(other)s ELSE %(operator)s END,
  CASE WHEN n < %(journeys)s THEN %(operator)s ELSE %(other)s END, CASE WHEN n < %(journeys)s THEN 300 + n %% 500 ELSE 100 END,
  at, CASE WHEN n < %(journeys)s THEN %(fare)s ELSE %(correction)s END, ''
FROM made ORDER BY n
"""
BATCHES = """
INSERT INTO card.ledger_batch (batch_no, total_minor, posted_at, transfers)
SELECT 1000 + n / 2000, sum(CASE WHEN n < %(journeys)s THEN 300 + n %% 500 ELSE 100 END), min(at), count(*)
FROM made GROUP BY n / 2000
"""


def statement(url: str, database: Database, *, journeys: int, rounds: int) -> None:
    """Seconds of a day's statement."""
    now = clock.now()
    on = clock.civil_date(now)
    begin = datetime(on.year, on.month, on.day, tzinfo=clock.SHANGHAI)
    with database.transaction() as session:
        operator = ledger.open_account(session, ledger.chart.operator(METRO), now=now)
        other = ledger.open_account(session, ledger.chart.settlement(), now=now)
    values = {
        "journeys": journeys,
        "on": on,
        "operator": operator,
        "other": other,
        "leaves": place_of(1, 0),
        "fare": int(ledger.TransferCode.FARE),
        "correction": int(ledger.TransferCode.FARE_CORRECTION),
    }
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """CREATE TEMP TABLE made AS SELECT n, %(begin)s::timestamptz + make_interval(secs => n * 86000.0 / %(all)s) AS at,
                 (lpad(to_hex(%(ms)s::bigint), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid AS id
               FROM (SELECT n, md5(n::text) AS h FROM generate_series(0, %(all)s - 1) AS n) AS numbers""",
            {"begin": begin, "all": journeys + journeys // 5, "ms": int(now.timestamp() * 1000)},
        )
        for query in (POSTINGS, BATCHES, BOOKED):
            connection.execute(query, values)
        connection.execute("VACUUM ANALYZE card.fare_posting, card.transfer, card.ledger_batch")

    def read() -> transit.DayStatement:
        with database.transaction() as session:
            return transit.day_statement(session, METRO, begin=begin, end=begin + timedelta(days=1))

    found = read()
    assert found.difference_minor == 0, found
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        read()
        times.append(time.perf_counter() - begun)
    print(f"\nan operator's day with {journeys:,} journeys, {found.count:,} postings, reconciled with the ledger")
    show("  statement, seconds", statistics.median(times), 2, "  under 5")


def main(given: list[str] | None = None) -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["all", "card-day", "what-if", "statement"], default="all")
    parser.add_argument("--taps", type=int, default=1_200_000, help="of the what-if's month")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--journeys", type=int, default=1_000_000, help="of the statement's day")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the server keeps its files; a temporary folder if not given"
    )
    asked = parser.parse_args(given)
    if asked.part in ("all", "card-day"):
        card_day(asked.rounds)
    if asked.part == "card-day":
        return
    with tempfile.TemporaryDirectory() as temporary:
        url, database = opened(asked.folder or Path(temporary))
        if asked.part in ("all", "what-if"):
            what_if(url, database, taps=asked.taps, processes=asked.processes)
        if asked.part in ("all", "statement"):
            statement(url, database, journeys=asked.journeys, rounds=asked.rounds)
        database.close()


if __name__ == "__main__":
    main()
