"""The worked claim's scene: hospitals and catalogue of both cities, the insured person and what their year has used.

Insured in Nanjing, treated on referral in a tertiary hospital in Suzhou, 12,000 yuan of self-pay within scope so far this year.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import clock, ids
from card import health, ledger
from card.health import FilingKind, ItemClass, Level, LineAsked, Scheme, Status

HOSPITALS: Final = {
    "320100": ("nj-first", {"en": "Demo First Hospital, Nanjing", "zh_Hans_CN": "演示·南京第一医院"}),
    "320500": ("sz-first", {"en": "Demo First Hospital, Suzhou", "zh_Hans_CN": "演示·苏州第一医院"}),
}
FUNDS_OPENING_MINOR: Final = 100_000_000_00
SOURCE: Final = "Demonstration catalogue (illustrative, not law)"
COURSE: Final = {"en": "course", "zh_Hans_CN": "疗程"}
PIECE: Final = {"en": "piece", "zh_Hans_CN": "件"}
VISIT: Final = {"en": "visit", "zh_Hans_CN": "次"}

CATALOGUE: Final = (
    ("A-SURGERY", {"en": "Joint surgery and ward care", "zh_Hans_CN": "关节手术与床位护理"}, COURSE, "A", 1_400_000, "0", None),
    ("B-ANTIBIOTIC", {"en": "Antibiotic treatment", "zh_Hans_CN": "抗感染治疗"}, COURSE, "B", 800_000, "0.10", None),
    ("B-JOINT", {"en": "Artificial joint", "zh_Hans_CN": "人工关节材料"}, PIECE, "B", 600_000, "0.20", 500_000),
    ("C-ROOM", {"en": "Single room and comfort items", "zh_Hans_CN": "单人病房及自选项目"}, COURSE, "C", 400_000, "0", None),
    ("A-VISIT", {"en": "Outpatient visit", "zh_Hans_CN": "门诊诊查"}, VISIT, "A", 2_500, "0", None),
    ("A-BLOOD", {"en": "Blood count", "zh_Hans_CN": "血常规检查"}, VISIT, "A", 2_000, "0", None),
    ("B-CT", {"en": "CT scan", "zh_Hans_CN": "CT 检查"}, VISIT, "B", 36_000, "0.10", None),
)


def hospital_of(session: Session, city: str, *, now: datetime) -> str:
    """Open the city's hospital, publish its catalogue and endow its funds; answer the hospital's id. Repeats are quiet."""
    hospital_id, name = HOSPITALS[city]
    health.open_hospital(session, hospital_id=hospital_id, name=name, level=Level.TERTIARY, now=now)
    for code, names, unit, item_class, price_minor, first, limit_minor in CATALOGUE:
        health.put_item(
            session,
            code=code,
            name=names,
            unit=unit,
            item_class=ItemClass(item_class),
            price_minor=price_minor,
            first_self_pay=Decimal(first),
            limit_minor=limit_minor,
            valid_from=date(2026, 1, 1),
            source=SOURCE,
        )
    bank = ledger.open_account(session, ledger.chart.bank(), now=now)
    for spec in (ledger.chart.pooled_fund("employee"), ledger.chart.catastrophic_fund("employee")):
        fund = ledger.open_account(session, spec, now=now)
        endow(session, bank=bank, account=fund, key=spec.key, amount_minor=FUNDS_OPENING_MINOR, now=now)
    return hospital_id


OPENED: Final = datetime(2026, 1, 1, tzinfo=clock.SHANGHAI)


def endow(
    session: Session, *, bank: ledger.AccountId, account: ledger.AccountId, key: str, amount_minor: int, now: datetime
) -> None:
    """Put an opening balance on an account, once."""
    ledger.post_all(
        session,
        [
            ledger.Transfer(
                id=ids.derived_id(OPENED, "demo-opening", key),
                debit=bank,
                credit=account,
                amount_minor=amount_minor,
                code=ledger.TransferCode.OPENING,
                event_at=OPENED,
                reference="demo-opening",
            )
        ],
        now=now,
    )


def worked_claimant(session: Session, *, holder_id: UUID, now: datetime) -> None:
    """Insure the person of the worked claim in Nanjing: accounts of 3,000 and 1,500, a referral filed for Suzhou. Once."""
    if health.coverage(session, holder_id, on=clock.civil_date(now)) is not None:
        return
    health.cover(
        session,
        holder_id=holder_id,
        scheme=Scheme.EMPLOYEE,
        status=Status.IN_SERVICE,
        valid_from=date(2026, 1, 1),
        now=now,
    )
    bank = ledger.open_account(session, ledger.chart.bank(), now=now)
    for spec, amount_minor in ((ledger.chart.medical(holder_id), 300_000), (ledger.chart.family(holder_id), 150_000)):
        account = ledger.open_account(session, spec, now=now)
        endow(session, bank=bank, account=account, key=spec.key, amount_minor=amount_minor, now=now)
    health.carry_over(session, holder_id=holder_id, year=clock.civil_date(now).year, self_pay_minor=1_200_000)
    filing_id = health.file(
        session,
        holder_id=holder_id,
        kind=FilingKind.REFERRAL,
        region="320500",
        reason="转诊至苏州行关节手术 · Referred to Suzhou for joint surgery",
        valid_from=date(2026, 11, 1),
        by=f"person:{holder_id}",
        now=now,
    )
    health.activate_filing(session, filing_id=filing_id, by="system", now=now)


def worked_lines() -> list[LineAsked]:
    """The bill of the worked claim, 32,000 yuan."""
    return [LineAsked(code=code, quantity=Decimal(1)) for code in ("A-SURGERY", "B-ANTIBIOTIC", "B-JOINT", "C-ROOM")]


def arrange(session: Session, *, city: str, everybody: dict[str, UUID], now: datetime) -> None:
    """The scene of health in ``city``: its hospital, who is insured; ``zhou`` is the patient of the worked claim. Once."""
    hospital_of(session, city, now=now)
    today = clock.civil_date(now)
    if city == "320100":
        worked_claimant(session, holder_id=everybody["zhou"], now=now)
    at_home = {"320100": (("lin", Status.RETIRED), ("qin", Status.RETIRED)), "320500": (("tingyu", Status.IN_SERVICE),)}
    for username, status in at_home[city]:
        if health.coverage(session, everybody[username], on=today) is None:
            health.cover(
                session,
                holder_id=everybody[username],
                scheme=Scheme.EMPLOYEE,
                status=status,
                valid_from=date(2026, 1, 1),
                now=now,
            )
