"""Act four: the month's pensions are prepared by one officer, approved by another, and paid onto the cards."""

import re

from app.demo.cities import NANJING
from app.demo.day.cast import Cast, says, seen, until


def play(cast: Cast) -> None:
    """One payment run from preparation to its close."""
    cast.diary.act("Nanjing pays its pensions")
    officer, supervisor = cast(NANJING, "officer"), cast(NANJING, "supervisor")
    officer.open("/staff/payment-runs")
    officer.shoot("payment-runs")
    month = officer.choices("month")[-1]
    officer.send({"month": month}, form="/prepare")
    run = re.sub(r"^https?://[^/]+", "", officer.address)
    officer.shoot("payment-run")
    if run.rstrip("/").endswith("payment-runs") or says(officer, "Reconciled"):
        cast.diary.note("this month's run was made on an earlier day")
        return
    cast.diary.note(f"an officer prepares the run: {seen(officer, r'¥[0-9,.]+')} in all")
    supervisor.open(run)
    supervisor.send({}, form="/approve")
    cast.diary.note("a supervisor approves it; the officer who prepared it could not")
    officer.open(run)
    officer.send({}, form="/send")
    officer.send({"reason": "account closed"}, form="/bank", press="returned")
    officer.open(run)
    officer.send({}, form="/close")
    officer.shoot("payment-run-closed")
    cast.diary.note("paid onto the cards; one bank payment comes back and waits to be issued again; the run is closed")
    qin = cast(NANJING, "qin")
    until(qin, "/me/card", r"¥[1-9][0-9,.]*")
    paid = seen(qin, r"¥[0-9,.]+")
    qin.open("/me/benefits")
    qin.shoot("benefits")
    cast.diary.note(f"Qin's pension and its arrears are on her card: {paid}", pension=paid)
