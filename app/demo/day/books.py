"""The end of the day: what each party now owes or is owed, and that every book is balanced."""

import re
from typing import Final

from app.demo.cities import CITIES, City
from app.demo.day.cast import Cast, says, seen
from app.demo.visitor import Visitor

# Kind of account, and what a balance above and below zero says of it.
PARTIES: Final = (
    ("operator", "is owed", "owes the city"),
    ("hospital", "is owed", "owes the city"),
    ("merchant", "is owed", "owes the city"),
    ("due-to", "is owed by this city", "owes this city"),
    ("due-from", "is owed by this city", "owes this city"),
    ("pooled-fund", "has", "has paid out"),
    ("catastrophic-fund", "has", "has paid out"),
    ("pension-fund", "has", "has paid out"),
    ("allowance-fund", "has", "has paid out"),
    ("fees", "has received", "has given back"),
    ("suspense", "keeps", "has advanced"),
)
# A row of the page: the account, the day it was opened, its balance.
ROW: Final = re.compile(r"([a-z][a-z-]*(?::[A-Za-z0-9-]+)?)\s+\d{1,2} \w+ \d{4}\s+([-\u2212\u2013]?)\s*¥([0-9,]+\.[0-9]{2})")


def play(cast: Cast) -> None:
    """Look into all three ledgers."""
    cast.diary.act("What everybody owes, and the books")
    for city in CITIES:
        admin = cast(city, "admin")
        owed(cast, admin, city)
        admin.open("/staff/ledger")
        admin.shoot(f"books-{city.database}")
        total = seen(admin, r"¥[0-9,.]+")
        balanced = "balance" if says(admin, "The books are balanced") else "DO NOT BALANCE"
        cast.diary.note(f"{city.name_en}: all balances together are {total}; the books {balanced}", **{city.database: total})


def owed(cast: Cast, admin: Visitor, city: City) -> None:
    """Say what each party of this city's books owes or is owed, by the pages of the books."""
    for kind, above, below in PARTIES:
        admin.open(f"/staff/ledger/accounts/{kind}")
        for key, minus, amount in ROW.findall(admin.text()):
            if key.partition(":")[0] == kind and amount.strip("0,."):
                cast.diary.note(f"{city.name_en}: {key} {below if minus else above} ¥{amount}")
