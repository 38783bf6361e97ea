"""The pure decision is the serial answer, whatever the batch."""

from hypothesis import given, settings
from hypothesis import strategies as st

from card.ledger import AccountId, AccountKind, TransferCode
from card.ledger.rules import Account, Known, Position, decide
from tests.unit.ledger import oracle

ACCOUNTS = {
    AccountId(place): Account(
        id=AccountId(place),
        key=str(place),
        kind=AccountKind.PURSE if place in oracle.GUARDED else AccountKind.OPERATOR,
        guarded=place in oracle.GUARDED,
        floor_minor=oracle.FLOORS.get(place, 0),
        currency="USD" if place == oracle.DOLLARS else "CNY",
        ledger=1,
        opened_at=oracle.NOW,
    )
    for place in (*oracle.GUARDED, *oracle.OPEN, oracle.DOLLARS)
}


@given(batches=st.lists(st.one_of(oracle.groups, oracle.clean_batches()), max_size=4))
@settings(max_examples=150, deadline=None)
def test_decide_gives_the_answers_balances_and_running_balances_of_a_naive_ledger(batches: list) -> None:
    book = oracle.Book()
    positions = {
        AccountId(place): Position(posted_minor=0, held_minor=0, floor_minor=oracle.FLOORS[place]) for place in oracle.GUARDED
    }
    known: dict = {}
    lines = []
    for batch in batches:
        decision = decide(ACCOUNTS, positions, known, batch)
        assert [(outcome.status.value, outcome.code) for outcome in decision.outcomes] == book.post(batch)
        positions = decision.positions
        known.update((posting.transfer.id, Known(transfer=posting.transfer)) for posting in decision.postings)
        known.update((refused.transfer.id, refused) for refused in decision.refusals)
        lines += [(p.transfer.id, p.debit_after_minor, p.credit_after_minor) for p in decision.postings]
        assert lines == book.lines
        for place in oracle.GUARDED:
            assert positions[AccountId(place)].posted_minor == book.posted[place] >= oracle.FLOORS[place]
        assert sum(book.posted.values()) == 0


def test_numbers_of_codes_are_permanent() -> None:
    assert {code.slug: int(code) for code in TransferCode} == {
        "top-up": 1, "top-up-refund": 2, "opening": 3, "correction": 4, "reversal": 5,
        "fare": 10, "fare-correction": 11, "foreign-fare": 12, "foreign-fare-correction": 13, "debt-recovery": 14,
        "fare-debt": 15, "fare-share": 16, "write-off": 17, "fraud-cover": 18,
        "service-fee": 20, "service-fee-refund": 21, "provider-fee": 22, "payout": 23,
        "health-pooled": 30, "health-catastrophic": 31, "health-own-account": 32, "health-family-account": 33,
        "health-cash": 34, "foreign-health": 35, "health-correction": 36,
        "pension": 40, "allowance": 41, "contribution": 42, "benefit-recovery": 43, "grant": 44, "grant-return": 45,
        "purchase": 50, "refund": 51, "bill": 52,
        "settlement": 60, "clearing-fee": 61, "dispute-credit": 62, "dispute-chargeback": 63, "clearing-correction": 64,
        "provisional-credit": 65, "suspense-cleared": 66,
    }  # fmt: skip
