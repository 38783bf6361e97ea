"""The end of the day: what each party now owes, and that every book is balanced."""

from app.demo.cities import CITIES
from app.demo.day.cast import Cast, says, seen


def play(cast: Cast) -> None:
    """Look into all three ledgers."""
    cast.diary.act("What everybody owes, and the books")
    for city in CITIES:
        admin = cast(city, "admin")
        admin.open("/staff/ledger")
        admin.shoot(f"books-{city.database}")
        total = seen(admin, r"¥[0-9,.]+")
        balanced = "balance" if says(admin, "The books are balanced") else "DO NOT BALANCE"
        cast.diary.note(f"{city.name_en}: all balances together are {total}; the books {balanced}", **{city.database: total})
