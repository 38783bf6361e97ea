"""Retirement age, pension and payment run: the published vectors and the worked cases, to the fen."""

from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import IllegalMove
from card.benefits import rules
from card.benefits.rules import Category, ItemState, RunState, Standing, WorkingLife

LAW = rules.retirement_rules_on(date(2026, 11, 1))
FIGURES = rules.pension_rules_on(date(2026, 11, 1))


@pytest.mark.parametrize(
    ("category", "birth", "retires"),
    [
        ("man", "1965-01", "2025-02"),
        ("man", "1965-12", "2026-03"),
        ("woman-55", "1971-04", "2026-08"),
        ("man", "1976-09", "2039-09"),
        ("woman-50", "1984-11", "2039-11"),
        ("man", "1964-12", "2024-12"),
        ("man", "1990-06", "2053-06"),
        ("woman-50", "1975-01", "2025-02"),
    ],
)
def test_the_statutory_age_rises_as_decided(category: str, birth: str, retires: str) -> None:
    found = rules.retirement(LAW, category=Category(category), birth=date.fromisoformat(f"{birth}-15"))
    assert f"{found.month:%Y-%m}" == retires


@pytest.mark.parametrize(
    ("category", "birth", "earliest", "latest"),
    [
        ("man", "1976-09", "2036-09", "2042-09"),
        ("man", "1965-01", "2025-01", "2028-02"),
        ("woman-50", "1984-11", "2036-11", "2042-11"),
    ],
)
def test_one_may_go_up_to_three_years_sooner_but_not_before_the_old_age(
    category: str, birth: str, earliest: str, latest: str
) -> None:
    found = rules.retirement(LAW, category=Category(category), birth=date.fromisoformat(f"{birth}-01"))
    assert (f"{found.earliest:%Y-%m}", f"{found.latest:%Y-%m}") == (earliest, latest)


@given(birth=st.dates(date(1960, 1, 1), date(2010, 12, 31)), category=st.sampled_from(Category))
def test_a_later_birth_never_retires_sooner_and_nobody_waits_past_the_cap(birth: date, category: Category) -> None:
    found = rules.retirement(LAW, category=category, birth=birth)
    next_month = rules.retirement(LAW, category=category, birth=rules.months_later(birth, 1))
    assert 0 <= found.delay_months <= LAW.categories[category].cap_months.value
    assert found.month < next_month.month


@pytest.mark.parametrize(
    ("year", "months"), [(2026, 180), (2029, 180), (2030, 186), (2031, 192), (2038, 234), (2039, 240), (2060, 240)]
)
def test_the_contribution_needed_rises_to_twenty_years(year: int, months: int) -> None:
    assert rules.contribution_months_needed(LAW, year) == months


WORKED = WorkingLife(
    index=Decimal("1.2"), years=Decimal("32.5"), deemed_years=Decimal(4), balance_minor=20_850_000, age_years=60
)


def test_the_worked_pension_is_computed_to_the_fen_and_explains_itself() -> None:
    found = rules.pension(FIGURES, WORKED, city="320100")
    assert (found.basic_minor, found.account_minor, found.transitional_minor) == (321_750, 150_000, 51_840)
    assert found.monthly_minor == 523_590
    assert [step.sentence % step.params for step in found.steps] == [
        "Basic pension: (9,000.00 + 9,000.00 × 1.2) ÷ 2 × 32.5 years × 1 % = 3,217.50 a month.",
        "Your account: 208,500.00 ÷ 139 months at age 60 = 1,500.00 a month.",
        "Transitional pension: 9,000.00 × 1.2 × 4 deemed years × 1.2 % = 518.40 a month.",
        "Together 5,235.90 a month.",
    ]
    assert all(step.source for step in found.steps[:3])


@pytest.mark.parametrize(
    ("years", "months", "expected"),
    [(50, 0, "195"), (55, 0, "170"), (60, 0, "139"), (60, 6, "135.5"), (63, 0, "117"), (70, 0, "56"), (64, 0, "109")],
)
def test_the_account_is_paid_out_over_the_months_of_the_table(years: int, months: int, expected: str) -> None:
    assert rules.divisor(FIGURES, years=years, months=months) == Decimal(expected)


@pytest.mark.parametrize(
    ("change", "city", "field"),
    [
        ({"index": Decimal(0)}, "320100", "index"),
        ({"deemed_years": Decimal(33)}, "320100", "years"),
        ({"balance_minor": -1}, "320100", "balance"),
        ({"age_years": 49}, "320100", "age"),
        ({}, "999999", "city"),
    ],
)
def test_facts_that_make_no_pension_are_refused_by_field(change: dict[str, object], city: str, field: str) -> None:
    with pytest.raises(rules.NotComputable) as refused:
        rules.pension(FIGURES, WorkingLife(**{**vars(WORKED), **change}), city=city)
    assert list(refused.value.fields) == [field]


DECEMBER = date(2026, 12, 1)
NOVEMBER = date(2026, 11, 1)


@pytest.mark.parametrize(
    ("name", "standing", "state", "amount"),
    [
        ("A new, with November", Standing(monthly_minor=523_590, from_month=NOVEMBER, paid_through=None), "due", 1_047_180),
        ("B regular", Standing(monthly_minor=462_000, from_month=date(2020, 1, 1), paid_through=NOVEMBER), "due", 462_000),
        (
            "C died",
            Standing(monthly_minor=400_000, from_month=date(2010, 1, 1), paid_through=NOVEMBER, ended_on=date(2026, 11, 9)),
            "ended",
            0,
        ),
        (
            "D lapsed",
            Standing(
                monthly_minor=410_200, from_month=date(2015, 1, 1), paid_through=NOVEMBER, qualified_until=date(2026, 10, 31)
            ),
            "held",
            410_200,
        ),
        ("E regular", Standing(monthly_minor=388_050, from_month=date(2018, 1, 1), paid_through=NOVEMBER), "due", 388_050),
        (
            "died in the month",
            Standing(monthly_minor=100, from_month=DECEMBER, paid_through=None, ended_on=date(2026, 12, 31)),
            "due",
            100,
        ),
        (
            "qualified to the last day",
            Standing(monthly_minor=100, from_month=DECEMBER, paid_through=None, qualified_until=DECEMBER),
            "due",
            100,
        ),
    ],
)
def test_a_run_decides_for_each_award(name: str, standing: Standing, state: str, amount: int) -> None:
    line = rules.line_for(standing, month=DECEMBER)
    assert line is not None
    assert (line.state, line.amount_minor) == (state, amount), name
    assert line.steps


@pytest.mark.parametrize(
    "standing",
    [
        Standing(monthly_minor=100, from_month=date(2027, 1, 1), paid_through=None),
        Standing(monthly_minor=100, from_month=NOVEMBER, paid_through=DECEMBER),
    ],
)
def test_an_award_not_yet_begun_or_already_paid_is_not_in_the_run(standing: Standing) -> None:
    assert rules.line_for(standing, month=DECEMBER) is None


def test_the_worked_run_adds_up() -> None:
    found = rules.totals(
        [
            (ItemState.PAID, 1_047_180),
            (ItemState.PAID, 462_000),
            (ItemState.ENDED, 0),
            (ItemState.HELD, 410_200),
            (ItemState.RETURNED, 388_050),
        ]
    )
    assert (found.records, found.file_minor, found.paid_minor, found.returned_minor) == (3, 1_897_230, 1_509_180, 388_050)
    assert (found.held_minor, found.ended, found.complete) == (410_200, 1, True)


@pytest.mark.parametrize("state", [ItemState.DUE, ItemState.SENT])
def test_a_run_with_an_open_item_is_not_complete(state: ItemState) -> None:
    assert not rules.totals([(ItemState.PAID, 1), (state, 1)]).complete


def test_a_run_moves_only_along_its_table() -> None:
    path = [RunState.GENERATING, RunState.PENDING_APPROVAL, RunState.APPROVED, RunState.IN_PAYMENT, RunState.RECONCILED]
    for state, to in pairwise(path):
        assert rules.move_run(state, to) is to
    with pytest.raises(IllegalMove):
        rules.move_run(RunState.PENDING_APPROVAL, RunState.IN_PAYMENT)
    with pytest.raises(IllegalMove):
        rules.move_run(RunState.REJECTED, RunState.APPROVED)
