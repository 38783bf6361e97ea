"""Charges of a Nanjing card in Suzhou, booked on either side as transit books them."""

from datetime import datetime
from uuid import UUID

from app.kernel import clock, ids
from card import cards, clearing, ledger
from card.clearing import Charge
from card.ledger import Transfer, TransferCode, chart
from tests.cities import Running

HUB, NANJING, SUZHOU = "320000", "320100", "320500"
HOLDER = UUID("018f0000-0000-7000-8000-00000000beef")


def card_of_nanjing(nanjing: Running) -> str:
    """The number of a new card whose purse holds 100 yuan."""
    with nanjing.database.transaction() as session:
        card = cards.issue(session, holder_id=HOLDER, kind=cards.Kind.PHONE, entitlements=[], now=clock.now())
        purse = ledger.open_account(session, chart.purse(HOLDER), now=clock.now())
        opening = Transfer(
            id=ids.new_id(),
            debit=ledger.open_account(session, chart.bank(), now=clock.now()),
            credit=purse,
            amount_minor=10_000,
            code=TransferCode.OPENING,
            event_at=clock.now(),
        )
        ledger.post_all(session, [opening], now=clock.now())
    return str(card.number)


def charge(name: str, amount_minor: int, *, card_number: str, at: datetime) -> Charge:
    """The charge ``t1``, ``t2``, …"""
    return Charge(
        id=ids.derived_id(at, name),
        issuer=NANJING,
        acquirer=SUZHOU,
        amount_minor=amount_minor,
        kind="transit",
        card_number=card_number,
        reference=f"journey:{name}",
        terminal_id="SZ-GATE-1",
        counter=int(name[1:]),
        event_at=at,
        accepted_at=at,
    )


def book(city: Running, found: Charge) -> None:
    """The local double entry of one side, and its record."""
    acquirer = city.code == SUZHOU
    with city.database.transaction() as session:
        now = clock.now()
        debit = chart.due_from(NANJING) if acquirer else chart.purse(HOLDER)
        credit = chart.operator("suzhou-metro") if acquirer else chart.due_to(SUZHOU)
        ledger.post_all(
            session,
            [
                Transfer(
                    id=ids.derived_id(found.accepted_at, city.code, str(found.id)),
                    debit=ledger.open_account(session, debit, now=now),
                    credit=ledger.open_account(session, credit, now=now),
                    amount_minor=found.amount_minor,
                    code=TransferCode.FOREIGN_FARE,
                    event_at=found.accepted_at,
                )
            ],
            now=now,
        )
        (clearing.note_charge if acquirer else clearing.note_debit)(session, found.document)


def balances(city: Running, *specs: ledger.AccountSpec) -> list[int]:
    """Posted balances, after proving the books."""
    with city.database.transaction() as session:
        report = ledger.check_books(session)
        assert not report.findings, report
        return [ledger.balance(session, ledger.open_account(session, spec, now=clock.now())).posted_minor for spec in specs]


def deliver(cities: dict[str, Running]) -> None:
    """Deliver events everywhere until nothing is due."""
    while sum(city.deliver() for city in cities.values()):
        pass
