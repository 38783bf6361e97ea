"""Act two: two gates in each city; Lin rides in both; the gates decide alone and report later."""

import json
import re

from app.demo.cities import NANJING, SUZHOU, City
from app.demo.day.cast import Cast, seen, until
from app.demo.day.gate import Gate
from app.demo.visitor import Lost

RIDES = {
    NANJING: ("nj-gulou", "nj-nanjingnanzhan", "13.2 km"),
    SUZHOU: ("sz-mudu", "sz-nanshijie", "23.4 km"),
}


def play(cast: Cast) -> None:
    """One ride at home, one away."""
    for city in (NANJING, SUZHOU):
        entry, exit_, length = RIDES[city]
        cast.diary.act(f"Lin rides {length} in {city.name_en}")
        gates = [enrol(cast, city, stop, mode) for stop, mode in ((entry, "entry"), (exit_, "exit"))]
        cast.diary.note(f"{city.name_en}'s operator enrols two gates with one-time tokens: {entry}, {exit_}")
        ride(cast, gates)
        console(cast, city)
    shown(cast)


def enrol(cast: Cast, city: City, stop: str, mode: str) -> Gate:
    """A new gate at a stop."""
    operator = cast(city, "operator")
    operator.open("/operator/terminals")
    operator.shoot(f"operator-terminals-{city.database}")
    operator.send({"mode": mode, "stop_id": stop}, form="/enrolments")
    token = seen(operator, r"--token (\S+)")
    gate = Gate(folder=cast.folder / f"{city.database}-{stop}")
    gate.run("enrol", "--server", cast.place.url(city), "--token", token)
    return gate


def ride(cast: Cast, gates: list[Gate]) -> None:
    """Show the phone at both gates, and the first code once more; nothing goes over a network until the upload."""
    lin = cast(NANJING, "lin")
    codes = []
    for gate in gates:
        code = json.loads(lin.fetch("/me/card/qr.json"))["text"]
        codes.append(code)
        answer = gate.decide(code)
        if answer["decision"] != "accepted":
            raise Lost(f"the gate refused: {answer}")
    again = gates[0].decide(codes[0])
    if again["decision"] == "accepted":
        raise Lost(f"the gate took one code twice: {again}")
    cast.diary.note(f"both gates open without a network; the same code a second time is refused ({again['reason']})")
    sent = [gate.run("upload")[0] for gate in gates]
    repeated = [gate.run("upload")[0] for gate in gates]
    cast.diary.note(
        f"the network is back: {sum(item['stored'] for item in sent)} taps uploaded, "
        f"{sum(item['stored'] for item in repeated)} more when it is tried again"
    )


def console(cast: Cast, city: City) -> None:
    """What the operator sees of it."""
    operator = cast(city, "operator")
    operator.open("/operator")
    operator.shoot(f"operator-{city.database}")
    operator.open("/operator/statement")
    operator.shoot(f"operator-statement-{city.database}")
    amounts = re.findall(r"¥[0-9,.]+", operator.text())
    cast.diary.note(f"the operator's statement of the day shows {amounts[0] if amounts else 'nothing yet'}")


def shown(cast: Cast) -> None:
    """What Lin sees of it: one journey each, explained."""
    lin = cast(NANJING, "lin")
    until(lin, "/me/journeys", r"Suzhou.*\+¥4\.00|Suzhou.*¥6\.00")
    lin.shoot("journeys")
    amounts = re.findall(r"¥[0-9,.]+", lin.text())
    lin.follow(r"/me/journeys/[0-9a-f-]{36}")
    lin.shoot("journey")
    cast.diary.note(f"Lin sees both rides and why each cost what it cost: {', '.join(amounts)}", rides=",".join(amounts))
    lin.open("/me/card")
    cast.diary.note(f"her card says {seen(lin, r'¥[0-9,.]+')}", balance=seen(lin, r"¥[0-9,.]+"))
