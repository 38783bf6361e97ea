"""Act one: Lin applies for a citizen card; two officers decide; she tops it up."""

import io
import re
from typing import Final

from PIL import Image, ImageDraw

from app.demo.cities import NANJING
from app.demo.day.cast import Cast, says, seen, until
from app.demo.visitor import File, Visitor

ANSWERS: Final[dict[str, dict[str, str]]] = {
    "residence": {"tie": "household"},
    "phone": {"phone": "13800000000"},
    "delivery": {"delivery": "collect"},
    "hall": {"hall": "central-hall"},
}


def portrait() -> File:
    """A drawn face: nobody's."""
    picture = Image.new("RGB", (360, 480), "#dfe9e8")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((110, 110, 250, 280), fill="#c9a08a")
    pen.rectangle((70, 320, 290, 480), fill="#0f5c5c")
    held = io.BytesIO()
    picture.save(held, "JPEG")
    return File(name="portrait.jpg", content=held.getvalue(), media_type="image/jpeg")


def play(cast: Cast) -> None:
    """From the catalogue to a card that pays."""
    cast.diary.act("Lin applies for a citizen card in Nanjing")
    lin = cast(NANJING, "lin")
    lin.open("/me/card")
    if says(lin, r"Card number|\d{4} \d{4}"):
        cast.diary.note("she has one from an earlier day")
    else:
        case = apply(cast, lin)
        decide(cast, case)
        collect(cast, lin, case)
    top_up(cast, "lin", "5000")


def apply(cast: Cast, lin: Visitor) -> str:
    """Fill the pages one by one, pay the fee; the path of her application."""
    lin.open("/services/citizen-card")
    lin.shoot("service")
    lin.follow("/me/apply/citizen-card")
    lin.send({}, form="/me/apply")
    while "/steps/" in lin.address:
        step = lin.address.split("/steps/")[1].split("?")[0]
        lin.shoot(f"apply-{step}")
        lin.send({"photo-file": portrait()} if step == "photo" else ANSWERS[step])
    lin.shoot("apply-check")
    lin.send({"declaration": "yes"}, form="/submit")
    cast.diary.note("page by page, each saved as she went; a photo handed in")
    pay(lin)
    case = lin_application(lin)
    until(lin, case, "An officer looks at your answers")
    lin.shoot("application")
    cast.diary.note(f"the fee is paid; the case is with the city ({case.rsplit('/', 1)[1]})", case=case)
    return case


def lin_application(lin: Visitor) -> str:
    """The path of her only application."""
    lin.open("/me/applications")
    lin.follow(r"/me/applications/[0-9a-f-]{36}$")
    return "/me/applications/" + lin.address.rsplit("/", 1)[1].split("?")[0]


def pay(visitor: Visitor) -> None:
    """Pay what the page asks for with the test card, and wait for Stripe's word."""
    if "/payments/" not in visitor.address:
        visitor.send({}, form="/pay")
    path = re.sub(r"^https?://[^/]+", "", visitor.address)
    visitor.send({}, press="test card")
    until(visitor, path, "is paid|Paid on")


def top_up(cast: Cast, username: str, amount_minor: str) -> None:
    """Put money on a card."""
    who = cast(NANJING, username)
    who.open("/me/card/top-up")
    who.send({"amount": amount_minor})
    who.shoot("top-up")
    pay(who)
    who.open("/me/card")
    who.shoot("card")
    cast.diary.note(
        f"{username} tops up ¥{int(amount_minor) / 100:.2f} through Stripe; the card says {seen(who, r'¥[0-9,.]+')}"
    )


def decide(cast: Cast, case: str) -> None:
    """An officer asks for nothing more, prepares; another approves."""
    number = case.rsplit("/", 1)[1]
    officer, supervisor = cast(NANJING, "officer"), cast(NANJING, "supervisor")
    officer.open("/staff/cases")
    officer.shoot("queue")
    officer.open(f"/staff/cases/{number}")
    officer.send({}, form="/claim")
    officer.shoot("case")
    officer.send({"fields": "phone", "note-phone": "One digit is missing.", "message": ""}, form="/correction")
    cast.diary.note("an officer takes the case and asks for a correction; its clocks stop")
    correct(cast, case)
    officer.open(f"/staff/cases/{number}")
    officer.send({"outcome": "approved", "reason": "Everything is in order."}, form="/decision")
    cast.diary.note("the officer prepares the decision")
    supervisor.open(f"/staff/cases/{number}")
    supervisor.shoot("case-approve")
    supervisor.send({}, form="/approve")
    cast.diary.note("a supervisor approves it: four eyes")


def correct(cast: Cast, case: str) -> None:
    """Lin corrects the page that was named, and only that one."""
    lin = cast(NANJING, "lin")
    until(lin, case, "[Cc]orrect")
    lin.shoot("application-correction")
    lin.follow("/steps/phone")
    lin.send({"phone": "13800000001"})
    lin.open(case)
    lin.send({}, form="/correction")
    cast.diary.note("Lin corrects the page that was named")


def collect(cast: Cast, lin: Visitor, case: str) -> None:
    """The decision, its public check, and the card."""
    until(lin, case, "Download the signed decision")
    lin.shoot("application-approved")
    pdf = lin.fetch(f"{case}/decision.pdf")
    assert pdf.startswith(b"%PDF"), "the decision is a PDF"
    stranger = cast.stranger(NANJING)
    stranger.open("/verify?lang=en")
    stranger.send({"file": File(name="decision.pdf", content=pdf, media_type="application/pdf")})
    verdict = seen(stranger, "genuine|valid|Valid")
    stranger.shoot("verify")
    cast.diary.note(f"the signed decision ({len(pdf) // 1024} kB) is checked by a stranger: {verdict}")
    until(lin, "/me/card", r"\d{4} \d{4}")
    cast.diary.note("her card is on her phone", card="issued")
