"""The split of a medical bill, to the fen."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.parameters import NoParameters
from card.health import rules
from card.health.rules import BillLine, FilingKind, ItemClass, Level, Payer, Scheme, Status, Year

NANJING = rules.policy_on("320100", date(2026, 11, 20))
DAY = date(2026, 11, 20)


def line(number: int, yuan: int, item_class: str, first: str = "0", limit: int | None = None) -> BillLine:
    return BillLine(
        number=number,
        code=f"X{number}",
        name={"en": f"Item {number}", "zh_Hans_CN": f"项目{number}"},
        item_class=ItemClass(item_class),
        quantity=Decimal(1),
        unit_price_minor=yuan * 100,
        first_self_pay=Decimal(first),
        limit_minor=None if limit is None else limit * 100,
    )


WORKED = (line(1, 14_000, "A"), line(2, 8_000, "B", "0.10"), line(3, 6_000, "B", "0.20", 5_000), line(4, 4_000, "C"))


def worked_terms() -> rules.Terms:
    return rules.terms_for(
        NANJING,
        scheme=Scheme.EMPLOYEE,
        status=Status.IN_SERVICE,
        level=Level.TERTIARY,
        year=Year(self_pay_in_scope=Decimal(12_000)),
        away=True,
        filing=FilingKind.REFERRAL,
    )


@pytest.mark.parametrize(
    ("number", "own", "over", "pre", "scope"),
    [(1, 0, 0, 0, 14_000), (2, 0, 0, 800, 7_200), (3, 0, 1_000, 1_000, 4_000), (4, 4_000, 0, 0, 0)],
)
def test_the_catalogue_of_the_place_of_treatment_splits_each_line(
    number: int, own: int, over: int, pre: int, scope: int
) -> None:
    facts = rules.line_facts(WORKED[number - 1])
    assert (facts.own, facts.over, facts.pre, facts.scope) == (own, over, pre, scope)


def test_the_worked_claim_is_split_to_the_fen() -> None:
    split = rules.split_bill(
        [rules.line_facts(each) for each in WORKED], worked_terms(), own_account_minor=300_000, family_account_minor=150_000
    )
    assert (split.total_minor, split.own, split.over, split.pre, split.scope) == (3_200_000, 4_000, 1_000, 1_800, 25_200)
    assert {share.payer.value: share.amount_minor for share in split.shares} == {
        "pool": 1_887_600,
        "catastrophic": 199_440,
        "other-fund": 0,
        "medical-aid": 0,
        "own-account": 300_000,
        "family-account": 150_000,
        "cash": 662_960,
    }
    assert (split.funds_minor, split.person_minor, split.owed_minor) == (2_087_040, 1_112_960, 2_537_040)
    assert split.self_pay_in_scope_minor == 632_400


def test_the_worked_claim_explains_each_step() -> None:
    split = rules.split_bill([rules.line_facts(each) for each in WORKED], worked_terms(), own_account_minor=300_000)
    told = [step.sentence % step.params for step in split.steps]
    assert "Pooled fund: (25,200.00 − 1,000.00) × 78 % = 18,876.00." in told
    assert "Serious-illness fund: (12,000.00 + 6,324.00 − 15,000.00) × 60 % = 1,994.40." in told
    assert all(step.source for step in split.steps if step.code in ("deductible", "ratio", "ratio-referral"))


@pytest.mark.parametrize(
    ("status", "level", "admissions", "filing", "deductible", "ratio"),
    [
        ("in-service", "primary", 0, None, "300", "0.95"),
        ("in-service", "secondary", 0, None, "500", "0.92"),
        ("in-service", "tertiary", 0, None, "1000", "0.88"),
        ("retired", "primary", 0, None, "300", "0.98"),
        ("retired", "tertiary", 0, None, "1000", "0.93"),
        ("in-service", "tertiary", 1, None, "500", "0.88"),
        ("in-service", "tertiary", 2, None, "0", "0.88"),
        ("in-service", "tertiary", 7, None, "0", "0.88"),
        ("in-service", "tertiary", 0, "referral", "1000", "0.78"),
        ("in-service", "tertiary", 0, "self", "1000", "0.704"),
    ],
)
def test_the_insured_place_decides_deductible_and_ratio(
    status: str, level: str, admissions: int, filing: str | None, deductible: str, ratio: str
) -> None:
    terms = rules.terms_for(
        NANJING,
        scheme=Scheme.EMPLOYEE,
        status=Status(status),
        level=Level(level),
        year=Year(admissions=admissions),
        away=filing is not None,
        filing=FilingKind(filing) if filing else None,
    )
    assert (terms.deductible, terms.ratio) == (Decimal(deductible), Decimal(ratio))


@pytest.mark.parametrize(
    ("region", "deductibles", "ratios", "ceiling"),
    [
        ("320100", (300, 500, 1000), ("0.95", "0.92", "0.88"), 360_000),
        ("320200", (400, 750, 950), ("0.95", "0.92", "0.88"), None),
        ("320400", (300, 600, 800), ("0.95", "0.92", "0.88"), None),
        ("321100", (200, 500, 800), ("0.95", "0.91", "0.87"), None),
        ("320600", (200, 500, 800), ("0.95", "0.91", "0.87"), 350_000),
    ],
)
def test_each_city_has_its_figures_with_their_source(
    region: str, deductibles: tuple[int, ...], ratios: tuple[str, ...], ceiling: int | None
) -> None:
    policy = rules.policy_on(region, DAY).schemes[Scheme.EMPLOYEE]
    assert tuple(policy.levels[level].deductible.value for level in Level) == deductibles
    assert tuple(policy.levels[level].ratio.value for level in Level) == tuple(Decimal(ratio) for ratio in ratios)
    assert (policy.ceiling.value if policy.ceiling else None) == ceiling
    assert all(policy.levels[level].ratio.source for level in Level)


def test_a_day_before_the_first_version_has_no_policy() -> None:
    with pytest.raises(NoParameters):
        rules.policy_on("320100", date(2025, 12, 31))
    with pytest.raises(NoParameters):
        rules.policy_on("999999", DAY)


def test_treatment_away_from_home_needs_a_filing() -> None:
    with pytest.raises(rules.FilingRequired):
        rules.terms_for(
            NANJING,
            scheme=Scheme.EMPLOYEE,
            status=Status.IN_SERVICE,
            level=Level.TERTIARY,
            year=Year(),
            away=True,
            filing=None,
        )


@pytest.mark.parametrize(
    ("before", "after", "paid"),
    [
        (0, 15_000, "0"),
        (0, "15000.01", "0.006"),
        (12_000, 18_324, "1994.4"),
        (18_324, 18_324, "0"),
        (14_000, 50_000, "21000"),
        (14_000, 50_001, "21000.75"),
        (60_000, 61_000, "750"),
    ],
)
def test_serious_illness_tiers_pay_only_what_this_claim_adds(before: int, after: int | str, paid: str) -> None:
    tiers = worked_terms().tiers
    assert rules.catastrophic_of(tiers, before=Decimal(before), after=Decimal(after)) == Decimal(paid)


@pytest.mark.parametrize(("used", "pool"), [(341_123, 1_887_600), (341_124, 1_887_600), (341_125, 1_887_500), (360_000, 0)])
def test_the_pool_pays_up_to_the_ceiling_of_the_year(used: int, pool: int) -> None:
    terms = rules.terms_for(
        NANJING,
        scheme=Scheme.EMPLOYEE,
        status=Status.IN_SERVICE,
        level=Level.TERTIARY,
        year=Year(pool_used=Decimal(used)),
        away=True,
        filing=FilingKind.REFERRAL,
    )
    assert rules.split_bill([rules.line_facts(each) for each in WORKED], terms).paid_by(Payer.POOL) == pool


def test_supplements_pay_in_order_before_the_person_does() -> None:
    terms = rules.terms_for(
        NANJING,
        scheme=Scheme.EMPLOYEE,
        status=Status.IN_SERVICE,
        level=Level.TERTIARY,
        year=Year(),
        away=False,
        filing=None,
        entitled=frozenset({Payer.OTHER_FUND, Payer.MEDICAL_AID}),
    )
    split = rules.split_bill([rules.line_facts(line(1, 11_000, "A"))], terms)
    # pool 8,800; 2,200 left: supplementary fund 1,100, then medical aid 70 % of 1,100
    assert [split.paid_by(payer) for payer in Payer] == [880_000, 0, 110_000, 77_000, 0, 0, 33_000]


bill_lines = st.lists(
    st.builds(
        BillLine,
        number=st.just(1),
        code=st.just("X"),
        name=st.just({"en": "x", "zh_Hans_CN": "x"}),
        item_class=st.sampled_from(ItemClass),
        quantity=st.decimals("0.01", 50, places=2),
        unit_price_minor=st.integers(0, 5_000_000),
        first_self_pay=st.decimals(0, 1, places=3),
        limit_minor=st.none() | st.integers(0, 5_000_000),
    ),
    min_size=1,
    max_size=6,
)


@given(
    bill=bill_lines,
    used=st.integers(0, 40_000_000),
    before=st.integers(0, 9_000_000),
    own=st.integers(0, 2_000_000),
    family=st.integers(0, 2_000_000),
    aided=st.sets(st.sampled_from([Payer.OTHER_FUND, Payer.MEDICAL_AID])),
)
def test_the_parts_are_always_the_whole_and_nobody_pays_less_than_nothing(
    bill: list[BillLine], used: int, before: int, own: int, family: int, aided: set[Payer]
) -> None:
    numbered = [rules.line_facts(BillLine(**{**vars(each), "number": index})) for index, each in enumerate(bill, 1)]
    terms = rules.terms_for(
        NANJING,
        scheme=Scheme.EMPLOYEE,
        status=Status.RETIRED,
        level=Level.TERTIARY,
        year=Year(pool_used=Decimal(used) / 100, self_pay_in_scope=Decimal(before) / 100),
        away=True,
        filing=FilingKind.REFERRAL,
        entitled=frozenset(aided),
    )
    split = rules.split_bill(numbered, terms, own_account_minor=own, family_account_minor=family)
    assert sum(share.amount_minor for share in split.shares) == split.total_minor
    assert all(share.amount_minor >= 0 for share in split.shares)
    assert split.paid_by(Payer.OWN_ACCOUNT) <= own
    assert split.paid_by(Payer.FAMILY_ACCOUNT) <= family
    assert split.funds_minor <= split.scope * 100 + 1


@given(before=st.integers(0, 9_000_000), parts=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=5))
def test_serious_illness_pays_the_same_however_a_year_is_cut_into_claims(before: int, parts: list[int]) -> None:
    tiers = worked_terms().tiers
    start = at = Decimal(before) / 100
    paid = Decimal(0)
    for part in parts:
        after = at + Decimal(part) / 100
        paid += rules.catastrophic_of(tiers, before=at, after=after)
        at = after
    assert paid == rules.catastrophic_of(tiers, before=start, after=at)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"quantity": Decimal(0)}, "lines.1.quantity"),
        ({"unit_price_minor": -1}, "lines.1.unit_price"),
        ({"first_self_pay": Decimal("1.01")}, "lines.1.first_self_pay"),
    ],
)
def test_a_line_that_cannot_be_is_refused_by_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(rules.BadLine) as refused:
        rules.line_facts(BillLine(**{**vars(WORKED[0]), **change}))
    assert list(refused.value.fields) == [field]
