"""The fictional people of the demonstration. Their numbers pass every check of form; their area does not exist."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.demo.cities import HUB, NANJING, SUZHOU, City
from app.web.auth import Role
from services import people

PASSWORD: Final = "one-card-many-places"  # noqa: S105  everybody's, and printed: this is a demonstration


@dataclass(frozen=True, kw_only=True)
class Resident:
    """Somebody who lives in the city. ``sequence`` keeps numbers of one birth date apart; odd means a man."""

    username: str
    name: str
    name_latin: str
    born: date
    sequence: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Staff:
    """Somebody who works with the portal; ``organisation`` is the operator, hospital or city they work for."""

    username: str
    name: str
    name_latin: str
    role: Role
    organisation: str | None = None
    why: str


LIN: Final = Resident(
    username="lin",
    name="演示·林小满",
    name_latin="Demo Lin Xiaoman",
    born=date(1958, 3, 15),
    sequence=2,
    why="68, has no card yet: applies for one, and for the allowance",
)
ZHOU: Final = Resident(
    username="zhou",
    name="演示·周远行",
    name_latin="Demo Zhou Yuanxing",
    born=date(1979, 8, 20),
    sequence=1,
    why="has a card; rides in both cities; treated in Suzhou",
)
QIN: Final = Resident(
    username="qin",
    name="演示·秦安然",
    name_latin="Demo Qin Anran",
    born=date(1966, 11, 2),
    sequence=5,
    why="has a card; draws a pension",
)
LU: Final = Resident(
    username="tingyu",
    name="演示·陆听雨",
    name_latin="Demo Lu Tingyu",
    born=date(1990, 5, 9),
    sequence=8,
    why="has a Suzhou card; rides and pays at home",
)
# Four more who draw pensions, so that a payment run has one of each thing that can happen; nobody signs in as them.
PENSIONERS: Final = tuple(
    Resident(username=username, name=name, name_latin=latin, born=born, sequence=sequence, why="")
    for username, name, latin, born, sequence in (
        ("payee-b", "演示·何自在", "Demo He Zizai", date(1951, 4, 3), 11),
        ("payee-c", "演示·施长安", "Demo Shi Chang'an", date(1943, 9, 27), 13),
        ("payee-d", "演示·许知秋", "Demo Xu Zhiqiu", date(1955, 1, 18), 14),
        ("payee-e", "演示·尤向晚", "Demo You Xiangwan", date(1957, 12, 30), 16),
    )
)
RESIDENTS: Final[dict[City, tuple[Resident, ...]]] = {HUB: (), NANJING: (LIN, ZHOU, QIN, *PENSIONERS), SUZHOU: (LU,)}

METRO: Final = {NANJING: "nj-metro", SUZHOU: "sz-metro"}
HOSPITAL: Final = {NANJING: "nj-first", SUZHOU: "sz-first"}


def staff_of(city: City) -> tuple[Staff, ...]:
    """Who works in ``city``."""
    office = (
        Staff(username="officer", name="演示·办件员", name_latin="Demo Officer", role=Role.OFFICER, why="works the queue"),
        Staff(
            username="supervisor",
            name="演示·复核员",
            name_latin="Demo Supervisor",
            role=Role.SUPERVISOR,
            why="the second pair of eyes",
        ),
        Staff(
            username="admin",
            name="演示·管理员",
            name_latin="Demo Admin",
            role=Role.ADMINISTRATOR,
            why="runs it; sees the books",
        ),
        Staff(
            username="auditor",
            name="演示·审计员",
            name_latin="Demo Auditor",
            role=Role.AUDITOR,
            why="sees every account and proof, changes nothing",
        ),
    )
    if city is HUB:
        return office
    other = SUZHOU if city is NANJING else NANJING
    return (
        *office,
        Staff(
            username="operator",
            name="演示·运营员",
            name_latin="Demo Operator",
            role=Role.OPERATOR,
            organisation=METRO[city],
            why="enrols gates, sees taps and revenue",
        ),
        Staff(
            username="operator2",
            name="演示·票价复核员",
            name_latin="Demo Fare Checker",
            role=Role.OPERATOR,
            organisation=METRO[city],
            why="publishes the fares that another operator drafted",
        ),
        Staff(
            username="hospital",
            name="演示·结算员",
            name_latin="Demo Hospital Desk",
            role=Role.HOSPITAL,
            organisation=HOSPITAL[city],
            why="settles bills on the spot",
        ),
        Staff(
            username="partner",
            name="演示·对账员",
            name_latin="Demo Partner Desk",
            role=Role.PARTNER,
            organisation=other.code,
            why=f"{other.name_en}'s eyes here: its claims and breaks",
        ),
    )


def everybody_of(city: City) -> list[Resident | Staff]:
    """All accounts of ``city``."""
    return [*RESIDENTS[city], *staff_of(city)]


def settle_in(session: Session, city: City, *, now: datetime) -> dict[str, UUID]:
    """Everybody of ``city`` by user name; whoever is there already stays as they are."""
    found: dict[str, UUID] = {}
    for someone in everybody_of(city):
        try:
            found[someone.username] = people.find_by_username(session, someone.username).id
            continue
        except people.UnknownPerson:
            pass
        if isinstance(someone, Resident):
            found[someone.username] = people.register(
                session,
                name=someone.name,
                name_latin=someone.name_latin,
                identity_number=people.parse_identity_number(
                    people.demonstration_number(someone.born, someone.sequence), demonstration=True
                ),
                username=someone.username,
                password=PASSWORD,
                email=f"{someone.username}@example.com",
                now=now,
            )
        else:
            found[someone.username] = people.create_staff(
                session,
                username=someone.username,
                name=someone.name,
                name_latin=someone.name_latin,
                password=PASSWORD,
                role=someone.role,
                organisation=someone.organisation,
                now=now,
            )
    return found
