"""Retirement age, pension, allowances and payment runs. Pure: parameters of the day in, result and its explanation out."""

import calendar
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

from pydantic import BaseModel, ConfigDict

from app.kernel import money, parameters
from app.kernel.errors import IllegalMove, Invalid, msg
from app.kernel.explain import Step, as_amount, as_percent
from app.kernel.parameters import Figure

ZERO: Final = Decimal(0)
YEAR: Final = 12


# --- months ----------------------------------------------------------------------------------------------------------------


def month_of(day: date) -> date:
    """The month of ``day``, written as its first day."""
    return day.replace(day=1)


def months_later(month: date, months: int) -> date:
    """The month ``months`` after ``month`` (before, if negative), as its first day."""
    total = month.year * YEAR + month.month - 1 + months
    return date(total // YEAR, total % YEAR + 1, 1)


def months_between(first: date, last: date) -> tuple[date, ...]:
    """The months from ``first`` to ``last``, both included; empty where ``last`` is earlier."""
    count = (last.year - first.year) * YEAR + last.month - first.month + 1
    return tuple(months_later(month_of(first), index) for index in range(max(0, count)))


def last_day(month: date) -> date:
    """The last day of ``month``."""
    return month.replace(day=calendar.monthrange(month.year, month.month)[1])


# --- states ----------------------------------------------------------------------------------------------------------------


class AwardState(StrEnum):
    """Where a pension or an allowance stands."""

    CLAIMED = "claimed"
    COMPUTED = "computed"
    APPROVED = "approved"
    IN_PAYMENT = "in-payment"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    ENDED = "ended"


AWARD_MOVES: Final[Mapping[AwardState, frozenset[AwardState]]] = {
    AwardState.CLAIMED: frozenset({AwardState.COMPUTED, AwardState.ENDED}),
    AwardState.COMPUTED: frozenset({AwardState.COMPUTED, AwardState.APPROVED, AwardState.ENDED}),
    AwardState.APPROVED: frozenset({AwardState.IN_PAYMENT, AwardState.SUSPENDED, AwardState.ENDED}),
    AwardState.IN_PAYMENT: frozenset({AwardState.SUSPENDED, AwardState.ENDED}),
    AwardState.SUSPENDED: frozenset({AwardState.RESUMED, AwardState.ENDED}),
    AwardState.RESUMED: frozenset({AwardState.IN_PAYMENT, AwardState.SUSPENDED, AwardState.ENDED}),
    AwardState.ENDED: frozenset(),
}


class RunState(StrEnum):
    """Where a payment run stands."""

    GENERATING = "generating"
    PENDING_APPROVAL = "pending-approval"
    APPROVED = "approved"
    IN_PAYMENT = "in-payment"
    RECONCILED = "reconciled"
    REJECTED = "rejected"
    FAILED = "failed"


RUN_MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.GENERATING: frozenset({RunState.PENDING_APPROVAL, RunState.FAILED}),
    RunState.PENDING_APPROVAL: frozenset({RunState.APPROVED, RunState.REJECTED}),
    RunState.APPROVED: frozenset({RunState.IN_PAYMENT, RunState.FAILED}),
    RunState.IN_PAYMENT: frozenset({RunState.RECONCILED}),
    RunState.RECONCILED: frozenset(),
    RunState.REJECTED: frozenset(),
    RunState.FAILED: frozenset(),
}


class ItemState(StrEnum):
    """What became of one person's line in a run. ``due`` and ``sent`` are open; the others close it."""

    DUE = "due"
    SENT = "sent"
    PAID = "paid"
    RETURNED = "returned"
    HELD = "held"
    ENDED = "ended"


ITEM_MOVES: Final[Mapping[ItemState, frozenset[ItemState]]] = {
    ItemState.DUE: frozenset({ItemState.SENT, ItemState.PAID, ItemState.HELD}),
    ItemState.SENT: frozenset({ItemState.PAID, ItemState.RETURNED}),
    ItemState.PAID: frozenset(),
    ItemState.RETURNED: frozenset(),
    ItemState.HELD: frozenset(),
    ItemState.ENDED: frozenset(),
}
FINAL_ITEMS: Final = frozenset(state for state, moves in ITEM_MOVES.items() if not moves)
IN_FILE: Final = frozenset({ItemState.DUE, ItemState.SENT, ItemState.PAID, ItemState.RETURNED})


class ContributionState(StrEnum):
    """Where a month's contribution stands."""

    DUE = "due"
    PAID = "paid"
    POSTED = "posted"
    ADJUSTED = "adjusted"


CONTRIBUTION_MOVES: Final[Mapping[ContributionState, frozenset[ContributionState]]] = {
    ContributionState.DUE: frozenset({ContributionState.PAID}),
    ContributionState.PAID: frozenset({ContributionState.POSTED}),
    ContributionState.POSTED: frozenset({ContributionState.ADJUSTED}),
    ContributionState.ADJUSTED: frozenset({ContributionState.ADJUSTED}),
}


def move_award(state: AwardState, to: AwardState) -> AwardState:
    """``to`` where an award may go there; raises :class:`IllegalMove`."""
    if to not in AWARD_MOVES[state]:
        raise IllegalMove(f"award {state} -> {to}", state=state.value)
    return to


def move_run(state: RunState, to: RunState) -> RunState:
    """``to`` where a run may go there; raises :class:`IllegalMove`."""
    if to not in RUN_MOVES[state]:
        raise IllegalMove(f"run {state} -> {to}", state=state.value)
    return to


def move_item(state: ItemState, to: ItemState) -> ItemState:
    """``to`` where an item may go there; raises :class:`IllegalMove`."""
    if to not in ITEM_MOVES[state]:
        raise IllegalMove(f"item {state} -> {to}", state=state.value)
    return to


# --- parameters ------------------------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Category(StrEnum):
    """Whose retirement age: men, and women who retired at 55 or at 50."""

    MAN = "man"
    WOMAN_55 = "woman-55"
    WOMAN_50 = "woman-50"


class CategoryRule(_Strict):
    """The old age, and how fast and how far it rises."""

    base_years: Figure
    every_months: Figure
    cap_months: Figure


class ContributionRule(_Strict):
    """Months of contribution needed for a pension."""

    minimum_months: Figure
    rises_from: Figure
    rise_months: Figure
    maximum_months: Figure


class RetirementVersion(_Strict):
    """The law on the retirement age from a day on."""

    effective_from: date
    version: str
    starts_year: Figure
    categories: dict[Category, CategoryRule]
    contribution: ContributionRule
    flexible_months: Figure


class ContributionRates(_Strict):
    """Shares of the contribution base."""

    employer: Figure
    employee: Figure


class PensionVersion(_Strict):
    """The figures of the pension formula from a day on."""

    effective_from: date
    version: str
    accrual: Figure
    divisors: dict[int, Figure]
    transitional_coefficient: Figure
    average_wage: dict[str, Figure]
    contribution_rates: ContributionRates


class _RetirementFile(_Strict):
    sources: tuple[str, ...]
    versions: tuple[RetirementVersion, ...]


class _PensionFile(_Strict):
    sources: tuple[str, ...]
    versions: tuple[PensionVersion, ...]


@cache
def _retirement() -> _RetirementFile:
    return _RetirementFile.model_validate(parameters.read(files(__package__) / "data" / "retirement.yaml"))


@cache
def _pension() -> _PensionFile:
    return _PensionFile.model_validate(parameters.read(files(__package__) / "data" / "pension.yaml"))


def retirement_rules_on(on: date) -> RetirementVersion:
    """The law on the retirement age on ``on``."""
    return parameters.version_on(_retirement().versions, on, what="retirement age")


def pension_rules_on(on: date) -> PensionVersion:
    """The figures of the pension formula on ``on``."""
    return parameters.version_on(_pension().versions, on, what="pension")


# --- retirement age --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Retirement:
    """When somebody reaches the statutory age. ``month`` is written as its first day."""

    month: date
    delay_months: int
    age_years: int
    age_months: int
    earliest: date
    latest: date
    contribution_months: int
    steps: tuple[Step, ...]


def retirement(version: RetirementVersion, *, category: Category, birth: date) -> Retirement:
    """The statutory retirement month of somebody born on ``birth`` (decision of 2024-09-13).

    n = (birth year + old age − 2025) · 12 + birth month; the delay is min(cap, ⌈n / k⌉) months.
    """
    rule = version.categories[category]
    base, every, cap = int(rule.base_years.value), int(rule.every_months.value), int(rule.cap_months.value)
    n = (birth.year + base - int(version.starts_year.value)) * YEAR + birth.month
    delay = min(cap, -(-n // every)) if n > 0 else 0
    old = months_later(month_of(birth), base * YEAR)
    month = months_later(old, delay)
    flexible = int(version.flexible_months.value)
    steps = [
        Step(
            code="old-age",
            sentence=msg("Born in %(birth)s: the earlier age of %(base)s would be reached in %(old)s."),
            params={"birth": f"{birth:%Y-%m}", "base": str(base), "old": f"{old:%Y-%m}"},
            source=rule.base_years.source,
        ),
        Step(
            code="delay",
            sentence=msg(
                "The age rises one month for every %(every)s months, at most %(cap)s: %(delay)s months later, in %(month)s."
            ),
            params={"every": str(every), "cap": str(cap), "delay": str(delay), "month": f"{month:%Y-%m}"},
            result=Decimal(delay),
            source=rule.every_months.source,
        ),
    ]
    needed = contribution_months_needed(version, month.year)
    steps.append(
        Step(
            code="contribution",
            sentence=msg("A pension from %(year)s needs %(years)s years and %(months)s months of contributions."),
            params={"year": str(month.year), "years": str(needed // YEAR), "months": str(needed % YEAR)},
            result=Decimal(needed),
            source=version.contribution.minimum_months.source,
        )
    )
    return Retirement(
        month=month,
        delay_months=delay,
        age_years=base + delay // YEAR,
        age_months=delay % YEAR,
        earliest=max(old, months_later(month, -flexible)),
        latest=months_later(month, flexible),
        contribution_months=needed,
        steps=tuple(steps),
    )


def contribution_months_needed(version: RetirementVersion, year: int) -> int:
    """Months of contribution that a pension beginning in ``year`` needs: 15 years, from 2030 half a year more a year, to 20."""
    rule = version.contribution
    rises = max(0, year - int(rule.rises_from.value) + 1)
    return int(min(rule.maximum_months.value, rule.minimum_months.value + rises * rule.rise_months.value))


# --- pension ---------------------------------------------------------------------------------------------------------------


class NotComputable(Invalid):
    """The facts of a working life do not make a pension."""

    code = "pension-not-computable"
    sentence = msg("A pension cannot be computed from these facts.")


@dataclass(frozen=True, kw_only=True)
class WorkingLife:
    """What a pension is computed from.

    ``index`` is the mean of the person's wage over the local mean; ``years`` counts deemed years too; ``balance_minor`` is the
    personal account in fen; the age is that at the start of the pension.
    """

    index: Decimal
    years: Decimal
    deemed_years: Decimal
    balance_minor: int
    age_years: int
    age_months: int = 0


@dataclass(frozen=True, kw_only=True)
class Pension:
    """A monthly pension in fen, by part."""

    version: str
    basic_minor: int
    account_minor: int
    transitional_minor: int
    steps: tuple[Step, ...]

    @property
    def monthly_minor(self) -> int:
        """The whole of it."""
        return self.basic_minor + self.account_minor + self.transitional_minor


def divisor(version: PensionVersion, *, years: int, months: int = 0) -> Decimal:
    """Over how many months the account is paid out at an age; between two ages of the table in proportion to the months."""
    at = years * YEAR + months
    ages = sorted(version.divisors)
    if not ages[0] * YEAR <= at <= ages[-1] * YEAR:
        raise NotComputable(fields={"age": msg("The table of ages begins at 50 and ends at 70.")})
    below = max(age for age in ages if age * YEAR <= at)
    above = min(age for age in ages if age * YEAR >= at)
    low, high = version.divisors[below].value, version.divisors[above].value
    if above == below:
        return low
    return low + (high - low) * Decimal(at - below * YEAR) / Decimal((above - below) * YEAR)


def pension(version: PensionVersion, life: WorkingLife, *, city: str) -> Pension:
    """The monthly pension of a working life paid by ``city``; raises :class:`NotComputable` naming each field."""
    fields = {}
    if life.index <= 0:
        fields["index"] = msg("The index must be more than zero.")
    if life.years <= 0 or not 0 <= life.deemed_years <= life.years:
        fields["years"] = msg("Deemed years are part of all years, which must be more than zero.")
    if life.balance_minor < 0:
        fields["balance"] = msg("The account cannot be below zero.")
    if city not in version.average_wage:
        fields["city"] = msg("The average wage of that city is not known.")
    if fields:
        raise NotComputable(fields=fields)
    wage = version.average_wage[city]
    w, i = wage.value, life.index
    basic = money.half_up_minor((w + w * i) / 2 * life.years * version.accrual.value)
    by = divisor(version, years=life.age_years, months=life.age_months)
    account = money.half_up_minor(money.major(life.balance_minor) / by)
    coefficient = version.transitional_coefficient
    transitional = money.half_up_minor(w * i * life.deemed_years * coefficient.value)
    steps = [
        Step(
            code="basic",
            sentence=msg(
                "Basic pension: (%(wage)s + %(wage)s × %(index)s) ÷ 2 × %(years)s years × %(percent)s %% = %(amount)s a month."
            ),
            params={
                "wage": as_amount(w),
                "index": f"{i.normalize():f}",
                "years": f"{life.years.normalize():f}",
                "percent": as_percent(version.accrual.value),
                "amount": as_amount(money.major(basic)),
            },
            result=money.major(basic),
            source=f"{version.accrual.source}; {wage.source}",
        ),
        Step(
            code="account",
            sentence=msg("Your account: %(balance)s ÷ %(divisor)s months at age %(age)s = %(amount)s a month."),
            params={
                "balance": as_amount(money.major(life.balance_minor)),
                "divisor": f"{by.quantize(Decimal('0.01')).normalize():f}",
                "age": str(life.age_years) if not life.age_months else f"{life.age_years}+{life.age_months}/12",
                "amount": as_amount(money.major(account)),
            },
            result=money.major(account),
            source=version.divisors[min(version.divisors)].source,
        ),
    ]
    if life.deemed_years:
        steps.append(
            Step(
                code="transitional",
                sentence=msg(
                    "Transitional pension: %(wage)s × %(index)s × %(years)s deemed years × %(percent)s %% = %(amount)s a month."
                ),
                params={
                    "wage": as_amount(w),
                    "index": f"{i.normalize():f}",
                    "years": f"{life.deemed_years.normalize():f}",
                    "percent": as_percent(coefficient.value),
                    "amount": as_amount(money.major(transitional)),
                },
                result=money.major(transitional),
                source=coefficient.source,
            )
        )
    result = Pension(
        version=version.version,
        basic_minor=basic,
        account_minor=account,
        transitional_minor=transitional,
        steps=tuple(steps),
    )
    total = money.major(result.monthly_minor)
    whole = Step(code="total", sentence=msg("Together %(amount)s a month."), params={"amount": as_amount(total)}, result=total)
    return Pension(**{**vars(result), "steps": (*steps, whole)})


# --- payment runs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One award as a payment run sees it. Months are first days; ``paid_through`` is the last month already paid."""

    monthly_minor: int
    from_month: date
    paid_through: date | None
    ended_on: date | None = None
    qualified_until: date | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a run does for one award: ``state`` is due, held or ended; ``amount_minor`` is what is due for ``months``."""

    state: ItemState
    amount_minor: int
    months: tuple[date, ...]
    steps: tuple[Step, ...]


def line_for(standing: Standing, *, month: date) -> Line | None:
    """What the run of ``month`` does for an award; nothing where nothing is due and nothing has changed.

    Months unpaid since the award began are paid together. The month of a death is still paid, none after it. An award whose
    yearly qualification lapsed before the month is held: reckoned, but not in the file.
    """
    first = standing.from_month if standing.paid_through is None else months_later(standing.paid_through, 1)
    last = month if standing.ended_on is None else min(month, month_of(standing.ended_on))
    months = months_between(first, last)
    if not months:
        if standing.ended_on is None or standing.ended_on > last_day(month):
            return None
        step = Step(
            code="ended",
            sentence=msg("Ended on %(day)s: nothing is due after that month."),
            params={"day": standing.ended_on.isoformat()},
        )
        return Line(state=ItemState.ENDED, amount_minor=0, months=(), steps=(step,))
    amount = standing.monthly_minor * len(months)
    steps = [
        Step(
            code="due",
            sentence=msg("%(count)s × %(monthly)s for %(first)s to %(last)s = %(amount)s.")
            if len(months) > 1
            else msg("%(monthly)s for %(first)s."),
            params={
                "count": str(len(months)),
                "monthly": as_amount(money.major(standing.monthly_minor)),
                "first": f"{months[0]:%Y-%m}",
                "last": f"{months[-1]:%Y-%m}",
                "amount": as_amount(money.major(amount)),
            },
            result=money.major(amount),
        )
    ]
    if standing.qualified_until is not None and standing.qualified_until < month:
        steps.append(
            Step(
                code="held",
                sentence=msg("Held: the yearly confirmation was due by %(day)s. It is paid in full once that is done."),
                params={"day": standing.qualified_until.isoformat()},
            )
        )
        return Line(state=ItemState.HELD, amount_minor=amount, months=months, steps=tuple(steps))
    return Line(state=ItemState.DUE, amount_minor=amount, months=months, steps=tuple(steps))


@dataclass(frozen=True, kw_only=True)
class Totals:
    """A run in figures: file = paid + returned + open, in fen. Held and ended are outside the file."""

    records: int
    file_minor: int
    paid_minor: int
    returned_minor: int
    open_minor: int
    held_minor: int
    held: int
    ended: int
    complete: bool


def totals(items: Iterable[tuple[ItemState, int]]) -> Totals:
    """Sum up ``(state, amount in fen)`` of a run's items. A run is complete when every item has reached a final state."""
    found = list(items)

    def sum_of(*states: ItemState) -> int:
        return sum(amount for state, amount in found if state in states)

    result = Totals(
        records=sum(1 for state, _ in found if state in IN_FILE),
        file_minor=sum_of(*IN_FILE),
        paid_minor=sum_of(ItemState.PAID),
        returned_minor=sum_of(ItemState.RETURNED),
        open_minor=sum_of(ItemState.DUE, ItemState.SENT),
        held_minor=sum_of(ItemState.HELD),
        held=sum(1 for state, _ in found if state is ItemState.HELD),
        ended=sum(1 for state, _ in found if state is ItemState.ENDED),
        complete=all(state in FINAL_ITEMS for state, _ in found),
    )
    assert result.file_minor == result.paid_minor + result.returned_minor + result.open_minor, (
        "the file is the sum of its parts"
    )
    return result


# --- the file --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of a run's file. ``months`` are ``YYYY-MM``; the amount is fen."""

    number: int
    reference: str
    channel: str
    months: tuple[str, ...]
    amount_minor: int


def payment_file(records: Iterable[Record], *, month: date, run: str) -> str:
    """A run's file: CSV (RFC 4180), one record a payment, and a trailer with count and sum in yuan."""
    rows = list(records)
    lines = ["number,reference,channel,months,amount,currency"]
    lines += [
        f"{row.number},{row.reference},{row.channel},{' '.join(row.months)},{money.major(row.amount_minor)},{money.CNY}"
        for row in rows
    ]
    total = money.major(sum(row.amount_minor for row in rows))
    lines.append(f"trailer,{run},{month:%Y-%m},{len(rows)},{total},{money.CNY}")
    return "\r\n".join(lines) + "\r\n"


def file_digest(text: str) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(text.encode()).hexdigest()
