"""Act five: the cities clear. One claim was read by hand from a broken gate, so only Suzhou knows it: the break of the day."""

import re

from app.demo.cities import HUB, NANJING, SUZHOU
from app.demo.day.cast import Cast, seen, until
from app.demo.visitor import Visitor


def play(cast: Cast) -> None:
    """Files, matching, a break, its dispute and correction, netting, settlement."""
    cast.diary.act("The cities clear")
    by_hand(cast)
    officer = cast(SUZHOU, "officer")
    officer.open("/staff/clearing")
    officer.send({}, form="/files")
    file = until(officer, "/staff/clearing", r"No\. \d+")
    cast.diary.note(f"Suzhou signs its clearing file ({file}) and sends it; Nanjing matches it with its own view")
    home = cast(NANJING, "officer")
    home.open("/staff/clearing")
    home.send({}, form="/files")
    cast.diary.note("Nanjing sends its own, and would if nothing were in it: silence is never mistaken for nothing")
    dispute(cast, officer, home)
    settle(cast)


def by_hand(cast: Cast) -> None:
    """Suzhou claims a ride that no terminal could present; two people stand for it."""
    lin = cast(NANJING, "lin")
    lin.open("/me/card")
    number = seen(lin, r"(\d{4} \d{4} \d{4} \d{4} \d{3})").replace(" ", "")
    officer, supervisor = cast(SUZHOU, "officer"), cast(SUZHOU, "supervisor")
    officer.open("/staff/clearing")
    officer.send(
        {
            "issuer": NANJING.code,
            "card_number": number,
            "amount": "4.50",
            "note": "Read by hand from the journal of a broken gate.",
        },
        form="/claims",
    )
    supervisor.open("/staff/clearing")
    supervisor.shoot("clearing-claim-by-hand")
    supervisor.send({}, form="/proposals/", press="Approve")
    cast.diary.note("a broken gate in Suzhou: ¥4.50 is claimed by hand, by two people, and Nanjing knows nothing of it")


def dispute(cast: Cast, officer: Visitor, home: Visitor) -> None:
    """The break is seen on both sides, asked about, answered and corrected."""
    until(officer, "/staff/clearing", "Only the acquirer has it")
    officer.shoot("clearing-acquirer")
    officer.follow(r"/staff/clearing/breaks/")
    officer.shoot("clearing-break")
    cast.diary.note("matching finds it: only the acquirer has it")
    officer.send({"note": "The journal holds the tap and its signature."}, form="/inquiry")
    cast.diary.note("Suzhou asks (查询)")
    until(home, "/staff/clearing", "asked|inquiry|Inquiry|Asked")
    home.shoot("clearing-issuer")
    home.follow(r"/staff/clearing/disputes/")
    home.send({"note": "The signature verifies: we pay.", "move": "credit-adjustment", "given": "4.50"}, form="/moves")
    path = re.sub(r"^https?://[^/]+", "", home.address)
    supervisor = cast(NANJING, "supervisor")
    supervisor.open(path)
    supervisor.shoot("clearing-dispute")
    supervisor.send({}, form="/proposals/", press="Approve")
    cast.diary.note("Nanjing prepares a credit adjustment (贷记调整), a second officer approves: a transfer on both sides")
    until(officer, path, "Closed")
    officer.shoot("clearing-dispute-closed")
    cast.diary.note("the dispute is closed in both cities", dispute="closed")


def settle(cast: Cast) -> None:
    """The province nets what both sides agree on; two people there; the cities book it."""
    officer, supervisor = cast(HUB, "officer"), cast(HUB, "supervisor")
    until(officer, "/hub", "Prepare a settlement cycle")
    officer.shoot("hub")
    officer.send({}, form="/cycles")
    cycle = re.sub(r"^https?://[^/]+", "", officer.address)
    supervisor.open(cycle)
    supervisor.shoot("hub-cycle")
    supervisor.send({}, form="/approval")
    until(officer, cycle, "bank confirmed|The bank")
    officer.send({}, form="/settlement")
    until(officer, cycle, "Settled")
    officer.shoot("hub-cycle-settled")
    cast.diary.note("the province nets, two people approve, the bank confirms: settled")
    city = cast(SUZHOU, "officer")
    city.open("/staff/clearing")
    city.shoot("clearing-after")
