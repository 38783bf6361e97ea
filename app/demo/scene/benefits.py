"""The scene of the worked pension and the worked payment run: five lives of Nanjing, one for each thing that can happen."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.demo.scene.health import endow
from app.kernel import clock, ids
from card import benefits, ledger, purchases
from card.benefits import Category
from card.ledger import TransferCode
from services import people

FUND_OPENING_MINOR: Final = 10_000_000_00
NOVEMBER: Final = date(2026, 11, 1)
SUBSIDIES_FROM: Final = datetime(2026, 11, 1, tzinfo=UTC)


def endow_funds(session: Session, *, now: datetime) -> None:
    """Put an opening balance on the pension and the allowance fund, once."""
    bank = ledger.open_account(session, ledger.chart.bank(), now=now)
    for spec in (ledger.chart.pension_fund(), ledger.chart.allowance_fund()):
        fund = ledger.open_account(session, spec, now=now)
        endow(session, bank=bank, account=fund, key=spec.key, amount_minor=FUND_OPENING_MINOR, now=now)


def worked_life(session: Session, *, holder_id: UUID, category: Category = Category.MAN) -> None:
    """The life of the worked pension: index 1.2, 32.5 years of which 4 deemed, 208,500 yuan in the account. Once."""
    benefits.take_over(
        session,
        holder_id=holder_id,
        category=category,
        wage_index=Decimal("1.2"),
        paid_months=342,
        deemed_months=48,
        balance_minor=20_850_000,
        since=date(1994, 5, 1),
    )


def working_life(session: Session, *, holder_id: UUID, category: Category, now: datetime) -> None:
    """Somebody still working: twenty years taken over and this autumn's contributions. Once."""
    benefits.take_over(
        session,
        holder_id=holder_id,
        category=category,
        wage_index=Decimal("1.05"),
        paid_months=240,
        deemed_months=0,
        balance_minor=9_640_000,
        since=date(2006, 7, 1),
    )
    for month in (date(2026, 9, 1), date(2026, 10, 1), NOVEMBER):
        benefits.contribute(
            session, holder_id=holder_id, month=month, employer="演示·长江机电 Demo Yangtze Works", base_minor=945_000, now=now
        )


def worked_run(session: Session, *, holders: dict[str, UUID], birth_of_a: date, now: datetime) -> None:
    """The five of the worked run of 2026-12, by letter: A new from November, B regular, C died 2026-11-09, D's yearly
    confirmation lapsed, E paid through the bank. ``holders`` maps a letter to a person; letters left out are left out. Once.
    """
    if "A" in holders:
        worked_life(session, holder_id=holders["A"])
        award_id = benefits.claim_pension(
            session, holder_id=holders["A"], birth=birth_of_a, from_month=NOVEMBER, by="person:demo-officer", now=now
        )
        if benefits.award(session, award_id).state is benefits.AwardState.COMPUTED:
            benefits.approve_pension(session, award_id=award_id, by="person:demo-supervisor", now=now)
    for letter, monthly_minor, channel, until in (
        ("B", 462_000, benefits.CARD, None),
        ("C", 391_000, benefits.CARD, None),
        ("D", 410_200, benefits.CARD, date(2026, 10, 31)),
        ("E", 388_050, benefits.BANK, None),
    ):
        if letter not in holders:
            continue
        award_id = benefits.take_over_award(
            session,
            holder_id=holders[letter],
            monthly_minor=monthly_minor,
            from_month=date(2020, 1, 1),
            paid_through=NOVEMBER,
            channel=channel,
            qualified_until=until,
            by="system",
            now=now,
        )
        if letter == "C" and benefits.award(session, award_id).ended_on is None:
            benefits.end_award(session, award_id=award_id, ended_on=date(2026, 11, 9), reason="death", by="system", now=now)


def worked_purses(session: Session, *, holder_id: UUID, now: datetime) -> None:
    """A ride subsidy for this month and a meal allowance at the community canteen. Once."""
    purchases.open_merchant(
        session,
        merchant_id="demo-canteen",
        name={"en": "Demo Community Canteen", "zh_Hans_CN": "演示·社区食堂"},
        kind=purchases.MerchantKind.SHOP,
        now=now,
    )
    for cause, name, codes, payees, amount_minor in (
        ("rides", {"en": "Green travel subsidy", "zh_Hans_CN": "绿色出行补贴"}, [TransferCode.FARE], ["operator"], 2_000),
        (
            "meals",
            {"en": "Meal allowance", "zh_Hans_CN": "助餐补贴"},
            [TransferCode.PURCHASE],
            ["merchant:demo-canteen"],
            12_000,
        ),
    ):
        purse_id = ids.derived_id(SUBSIDIES_FROM, "demo-purse", str(holder_id), cause)
        if purse_id in {purse.id for purse in ledger.purses_of(session, holder_id, closed=True)}:
            continue
        ledger.grant_purse(
            session,
            purse_id=purse_id,
            holder_id=holder_id,
            name=name,
            codes=codes,
            payees=payees,
            fund=ledger.chart.allowance_fund(),
            amount_minor=amount_minor,
            expires_at=end_of_month(now) if cause == "rides" else end_of_month(now + timedelta(days=31)),
            now=now,
        )


def end_of_month(now: datetime) -> datetime:
    """The first instant of the next civil month."""
    first = clock.civil_date(now).replace(day=1) + timedelta(days=32)
    return datetime(first.year, first.month, 1, tzinfo=clock.SHANGHAI)


PENSIONERS: Final = {
    "B": ("演示·高望山", "Demo Gao Wangshan", date(1955, 4, 12), 11),
    "C": ("演示·何静远", "Demo He Jingyuan", date(1941, 6, 3), 12),
    "D": ("演示·孟晚晴", "Demo Meng Wanqing", date(1952, 9, 28), 14),
    "E": ("演示·苏明川", "Demo Su Mingchuan", date(1957, 1, 19), 15),
}


def pensioners(session: Session, *, now: datetime) -> dict[str, UUID]:
    """B to E of the worked run as registered residents, by letter. Whoever is there stays as they are."""
    found: dict[str, UUID] = {}
    for letter, (name, name_latin, born, sequence) in PENSIONERS.items():
        text = people.demonstration_number(born, sequence)
        try:
            found[letter] = people.find_by_identity_number(session, text).id
        except people.UnknownPerson:
            number = people.parse_identity_number(text, demonstration=True)
            found[letter] = people.register(session, name=name, name_latin=name_latin, identity_number=number, now=now)
    return found


def arrange(session: Session, *, city: str, everybody: dict[str, UUID], now: datetime) -> None:
    """The scene of social security in ``city``: ``qin`` is A of the worked run, ``zhou`` still works. Repeats are quiet."""
    endow_funds(session, now=now)
    if city == "320100":
        holders = pensioners(session, now=now) | {"A": everybody["qin"]}
        worked_run(session, holders=holders, birth_of_a=date(1966, 11, 2), now=now)
        working_life(session, holder_id=everybody["zhou"], category=Category.MAN, now=now)
