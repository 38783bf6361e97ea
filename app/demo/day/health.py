"""Act three: Zhou, insured in Nanjing, is treated in Suzhou and pays only their own part at the desk."""

from datetime import datetime

from app.demo.cities import NANJING, SUZHOU
from app.demo.day.cast import Cast, seen, until
from app.kernel import clock


def play(cast: Cast) -> None:
    """Look up, bill, foresee, settle; then what Zhou sees at home."""
    cast.diary.act("Zhou, insured in Nanjing, is treated in Suzhou")
    zhou, desk = cast(NANJING, "zhou"), cast(SUZHOU, "hospital")
    zhou.open("/me/card")
    number = seen(zhou, r"(\d{4} \d{4} \d{4} \d{4} \d{3})").replace(" ", "")
    today = clock.local(datetime.now(clock.SHANGHAI)).date()
    desk.open("/hospital")
    desk.shoot("hospital")
    desk.send({"card_number": number, "admitted_on": today.isoformat()}, form="/claims")
    cast.diary.note("the desk in Suzhou looks the card up: Nanjing answers that it covers Zhou, with a filing for Suzhou")
    desk.shoot("hospital-bill")
    desk.send({}, form="/bill")
    desk.shoot("hospital-split")
    cash = seen(desk, r"Settle; (¥[0-9,.]+) at the desk")
    cast.diary.note(f"the bill is entered and the split foreseen: {cash} remain for Zhou", cash=cash)
    desk.send({}, form="/settle")
    desk.shoot("hospital-receipt")
    cast.diary.note("settled: Nanjing's funds and Zhou's accounts pay Suzhou's hospital, over the signed federation")
    until(zhou, "/me/health", r"Suzhou")
    zhou.shoot("health")
    zhou.follow(r"/me/health/[a-z/]*[0-9a-f-]{36}")
    zhou.shoot("health-claim")
    cast.diary.note(f"Zhou sees who paid what, line by line, of {seen(zhou, r'¥32,000.00|¥[0-9,.]+')}")
