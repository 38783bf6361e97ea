"""The same transfers with django-hordak, run by a Python that has it: ``benchmarks.ledger`` makes one and calls this file.

``prepare`` makes the tables, the accounts and each purse's opening amount; ``write`` posts one batch of fares in one commit and
says when it began and ended. A fare locks its purse, reads its balance and posts a transaction with two legs by
``transfer_to``, as the project's documentation has it.
"""

import argparse
import random
import time

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from psycopg.conninfo import conninfo_to_dict

MONEY = 100_000
CURRENCY = "CNY"
ACCOUNTS = """
INSERT INTO hordak_account (uuid, name, code, full_code, type, is_bank_account, currencies, lft, rght, tree_id, level)
SELECT gen_random_uuid(), kind || ' ' || n, NULL, NULL, type, false, '["CNY"]', 1, 2, first + n, 0
FROM (VALUES ('bank', 'AS', 1, 1), ('operator', 'LI', 2, %(operators)s), ('purse', 'LI', 2 + %(operators)s, %(purses)s))
  AS asked(kind, type, first, count), generate_series(0, count - 1) n
ORDER BY first, n
"""
OPENINGS = """
INSERT INTO hordak_transaction (uuid, timestamp, date, description)
SELECT gen_random_uuid(), now(), current_date, name FROM hordak_account WHERE name LIKE 'purse %%' ORDER BY id
"""
LEGS = """
INSERT INTO hordak_leg (uuid, transaction_id, account_id, description, currency, debit, credit)
SELECT gen_random_uuid(), opening.id, side.account_id, '', 'CNY', side.debit, side.credit
FROM hordak_account purse JOIN hordak_transaction opening ON opening.description = purse.name, LATERAL (VALUES
  ((SELECT id FROM hordak_account WHERE name = 'bank 0'), %(money)s::numeric, NULL::numeric), (purse.id, NULL, %(money)s))
  AS side(account_id, debit, credit)
"""


def set_up(url: str) -> None:
    """Django with nothing but the books."""
    found = conninfo_to_dict(url)
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": found["dbname"],
                "USER": found.get("user", ""),
                "PASSWORD": found.get("password", ""),
                "HOST": found.get("host", ""),
                "PORT": found.get("port", ""),
            }
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "mptt", "hordak"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        DEFAULT_CURRENCY=CURRENCY,
        HORDAK_INTERNAL_CURRENCY=CURRENCY,
        HORDAK_CURRENCIES=[CURRENCY],
        CURRENCIES=[CURRENCY],
        USE_TZ=True,
    )
    django.setup()


def prepare(*, purses: int, operators: int) -> None:
    """Tables by its own migrations; accounts and openings in bulk, with the triggers that check each row put aside."""
    call_command("migrate", verbosity=0)
    facts = {"purses": purses, "operators": operators, "money": MONEY}
    with connection.cursor() as cursor:
        for table, statement in (("account", ACCOUNTS), ("transaction", OPENINGS), ("leg", LEGS)):
            cursor.execute(f"ALTER TABLE hordak_{table} DISABLE TRIGGER USER")
            cursor.execute(statement, facts)
            cursor.execute(f"ALTER TABLE hordak_{table} ENABLE TRIGGER USER")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def write(*, number: int, writers: int, size: int) -> None:
    """Post ``size`` fares of this writer's purses in one transaction, when a line comes; print when it began and ended."""
    from hordak.models import Account  # noqa: PLC0415  Django must be set up first
    from moneyed import Money  # noqa: PLC0415

    chance = random.Random()
    named = Account.objects.order_by("id").values_list("id", flat=True)
    purses = list(named.filter(name__startswith="purse"))[number::writers]
    operators = list(Account.objects.filter(name__startswith="operator"))
    fares = [(chance.choice(purses), chance.choice(operators), chance.randint(1, 9)) for _ in range(size)]
    print("ready", flush=True)
    input()
    begun = time.perf_counter()
    with transaction.atomic():
        for purse_id, operator, amount in fares:
            purse = Account.objects.select_for_update().get(pk=purse_id)
            asked = Money(amount, CURRENCY)
            assert purse.get_simple_balance()[CURRENCY] >= asked, "a purse stays at or above nothing"
            operator.transfer_to(purse, asked)  # both are liabilities: the first is credited, the second debited
    print(begun, time.perf_counter())


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("act", choices=("prepare", "write"))
    parser.add_argument("url")
    for name in ("purses", "operators", "number", "writers", "size"):
        parser.add_argument(f"--{name}", type=int, default=1)
    asked = parser.parse_args()
    set_up(asked.url)
    if asked.act == "prepare":
        prepare(purses=asked.purses, operators=asked.operators)
    else:
        write(number=asked.number, writers=asked.writers, size=asked.size)


if __name__ == "__main__":
    main()
