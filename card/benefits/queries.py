"""What is known of insured lives, awards and payment runs. Reads only."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from app.kernel.city import city_of
from app.kernel.errors import NotFound, msg
from app.kernel.explain import Step, steps_from_json
from card.benefits import rules
from card.benefits.models import Award, Contribution, PaymentItem, PaymentRun, Relation
from card.benefits.rules import (
    AwardState,
    Category,
    ContributionState,
    ItemState,
    Pension,
    Retirement,
    RunState,
    Standing,
    Totals,
    WorkingLife,
)


class NoSuchRun(NotFound):
    """No payment run with this id."""

    code = "no-such-payment-run"
    sentence = msg("There is no such payment run.")


class NoSuchAward(NotFound):
    """No pension or allowance with this id."""

    code = "no-such-award"
    sentence = msg("There is no such pension or allowance.")


@dataclass(frozen=True, kw_only=True)
class LifeView:
    """An insured life with the contributions recorded here."""

    holder_id: UUID
    category: Category
    wage_index: Decimal
    paid_months: int
    deemed_months: int
    balance_minor: int
    since: date

    @property
    def years(self) -> Decimal:
        """All years of contribution, deemed ones too."""
        return Decimal(self.paid_months + self.deemed_months) / rules.YEAR

    @property
    def deemed_years(self) -> Decimal:
        """Years that count as contributed before contributions began."""
        return Decimal(self.deemed_months) / rules.YEAR


@dataclass(frozen=True, kw_only=True)
class ContributionView:
    """One month's contribution. Fen."""

    month: date
    employer: str
    base_minor: int
    employer_minor: int
    employee_minor: int
    state: ContributionState


@dataclass(frozen=True, kw_only=True)
class AwardView:
    """A pension or allowance."""

    id: UUID
    reference: str
    holder_id: UUID
    kind: str
    code: str
    monthly_minor: int
    from_month: date
    paid_through: date | None
    state: AwardState
    channel: str
    qualified_until: date | None
    ended_on: date | None
    steps: tuple[Step, ...]
    prepared_by: str
    approved_by: str | None

    @property
    def standing(self) -> Standing:
        """The award as a run sees it."""
        return Standing(
            monthly_minor=self.monthly_minor,
            from_month=self.from_month,
            paid_through=self.paid_through,
            ended_on=self.ended_on,
            qualified_until=self.qualified_until,
        )


@dataclass(frozen=True, kw_only=True)
class ItemView:
    """One award in one run."""

    id: UUID
    number: int
    award: AwardView
    month: date
    state: ItemState
    amount_minor: int
    months: tuple[str, ...]
    steps: tuple[Step, ...]
    channel: str
    return_reason: str | None
    reissued: bool
    replaces_id: UUID | None
    settled_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A payment run with its items and what they add up to."""

    id: UUID
    month: date
    kind: str
    state: RunState
    prepared_by: str
    prepared_at: datetime
    approved_by: str | None
    decided_at: datetime | None
    rejected_because: str | None
    sent_at: datetime | None
    file_digest: str | None
    reconciled_at: datetime | None
    items: tuple[ItemView, ...]

    @property
    def totals(self) -> Totals:
        """What the items add up to."""
        return rules.totals((item.state, item.amount_minor) for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a person may expect: when they retire, and what a pension from that month would be by today's figures."""

    life: LifeView
    retirement: Retirement
    pension: Pension | None
    months_missing: int


# --- lives -----------------------------------------------------------------------------------------------------------------


def life(session: Session, holder_id: UUID) -> LifeView | None:
    """An insured life, with the contributions posted here added to what was taken over; none where there is none."""
    row = session.get(Relation, holder_id)
    if row is None:
        return None
    count, paid_in = session.execute(
        select(func.count(), func.coalesce(func.sum(Contribution.employee_minor), 0)).where(
            Contribution.holder_id == holder_id, Contribution.state == ContributionState.POSTED
        )
    ).one()
    return LifeView(
        holder_id=row.holder_id,
        category=Category(row.category),
        wage_index=row.wage_index,
        paid_months=row.paid_months + int(count),
        deemed_months=row.deemed_months,
        balance_minor=row.balance_minor + int(paid_in),
        since=row.since,
    )


def contributions(session: Session, holder_id: UUID, *, limit: int = 12) -> list[ContributionView]:
    """The newest contributions of a person."""
    rows = session.scalars(
        select(Contribution).where(Contribution.holder_id == holder_id).order_by(Contribution.month.desc()).limit(limit)
    )
    return [
        ContributionView(
            month=row.month,
            employer=row.employer,
            base_minor=row.base_minor,
            employer_minor=row.employer_minor,
            employee_minor=row.employee_minor,
            state=ContributionState(row.state),
        )
        for row in rows
    ]


def working_life(found: LifeView, *, age_years: int, age_months: int) -> WorkingLife:
    """A life as the pension formula takes it."""
    return WorkingLife(
        index=found.wage_index,
        years=found.years,
        deemed_years=found.deemed_years,
        balance_minor=found.balance_minor,
        age_years=age_years,
        age_months=age_months,
    )


def forecast(session: Session, holder_id: UUID, *, birth: date, on: date) -> Forecast | None:
    """What a person may expect by the rules of ``on`` and what they have contributed so far; none where not insured here."""
    found = life(session, holder_id)
    if found is None:
        return None
    retires = rules.retirement(rules.retirement_rules_on(on), category=found.category, birth=birth)
    have = found.paid_months + found.deemed_months
    expected = None
    if found.wage_index > 0 and have > 0:
        expected = rules.pension(
            rules.pension_rules_on(on),
            working_life(found, age_years=retires.age_years, age_months=retires.age_months),
            city=city_of(session).code,
        )
    return Forecast(life=found, retirement=retires, pension=expected, months_missing=max(0, retires.contribution_months - have))


# --- awards ----------------------------------------------------------------------------------------------------------------


def award_view(row: Award) -> AwardView:
    """A row as others see it."""
    return AwardView(
        id=row.id,
        reference=row.reference,
        holder_id=row.holder_id,
        kind=row.kind,
        code=row.code,
        monthly_minor=row.monthly_minor,
        from_month=row.from_month,
        paid_through=row.paid_through,
        state=AwardState(row.state),
        channel=row.channel,
        qualified_until=row.qualified_until,
        ended_on=row.ended_on,
        steps=steps_from_json(row.computation.get("steps", [])),
        prepared_by=row.prepared_by,
        approved_by=row.approved_by,
    )


def award(session: Session, award_id: UUID) -> AwardView:
    """One pension or allowance; raises :class:`NoSuchAward`."""
    row = session.get(Award, award_id)
    if row is None:
        raise NoSuchAward(str(award_id))
    return award_view(row)


def awards_of(session: Session, holder_id: UUID) -> list[AwardView]:
    """A person's pensions and allowances, newest first."""
    rows = session.scalars(select(Award).where(Award.holder_id == holder_id).order_by(Award.from_month.desc(), Award.id.desc()))
    return [award_view(row) for row in rows]


def awards_waiting(session: Session) -> list[AwardView]:
    """Pensions computed and not yet approved, oldest first."""
    rows = session.scalars(select(Award).where(Award.state == AwardState.COMPUTED).order_by(Award.id).limit(200))
    return [award_view(row) for row in rows]


def awards_suspended(session: Session) -> list[AwardView]:
    """Awards suspended because the yearly confirmation lapsed, oldest first."""
    rows = session.scalars(select(Award).where(Award.state == AwardState.SUSPENDED).order_by(Award.id).limit(200))
    return [award_view(row) for row in rows]


# --- runs ------------------------------------------------------------------------------------------------------------------


def _item(row: PaymentItem, month: date, reissued: set[UUID]) -> ItemView:
    return ItemView(
        id=row.id,
        number=row.number,
        award=award_view(row.award),
        month=month,
        state=ItemState(row.state),
        amount_minor=row.amount_minor,
        months=tuple(row.months),
        steps=steps_from_json(row.steps),
        channel=row.channel,
        return_reason=row.return_reason,
        reissued=row.id in reissued,
        replaces_id=row.replaces_id,
        settled_at=row.settled_at,
    )


def _reissued(session: Session, ids: list[UUID]) -> set[UUID]:
    found = session.scalars(select(PaymentItem.replaces_id).where(PaymentItem.replaces_id.in_(ids)))
    return {item for item in found if item is not None}


def run_view(session: Session, row: PaymentRun) -> RunView:
    """A loaded run as others see it."""
    reissued = _reissued(session, [item.id for item in row.items])
    return RunView(
        id=row.id,
        month=row.month,
        kind=row.kind,
        state=RunState(row.state),
        prepared_by=row.prepared_by,
        prepared_at=row.prepared_at,
        approved_by=row.approved_by,
        decided_at=row.decided_at,
        rejected_because=row.rejected_because,
        sent_at=row.sent_at,
        file_digest=row.file_digest,
        reconciled_at=row.reconciled_at,
        items=tuple(_item(item, row.month, reissued) for item in row.items),
    )


def run(session: Session, run_id: UUID) -> RunView:
    """One run with its items; raises :class:`NoSuchRun`."""
    row = session.scalars(
        select(PaymentRun)
        .where(PaymentRun.id == run_id)
        .options(selectinload(PaymentRun.items).selectinload(PaymentItem.award))
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NoSuchRun(str(run_id))
    return run_view(session, row)


def runs(session: Session, *, limit: int = 24) -> list[RunView]:
    """The newest runs."""
    rows = session.scalars(
        select(PaymentRun)
        .options(selectinload(PaymentRun.items).selectinload(PaymentItem.award))
        .order_by(PaymentRun.month.desc(), PaymentRun.id.desc())
        .limit(limit)
    )
    return [run_view(session, row) for row in rows]


def payments_to(session: Session, holder_id: UUID, *, limit: int = 24) -> list[ItemView]:
    """What a person was paid, newest first; held and returned items too, runs not yet sent left out."""
    rows = session.execute(
        select(PaymentItem, PaymentRun.month)
        .join(Award, Award.id == PaymentItem.award_id)
        .join(PaymentRun, PaymentRun.id == PaymentItem.run_id)
        .where(Award.holder_id == holder_id, PaymentRun.sent_at.is_not(None))
        .options(selectinload(PaymentItem.award))
        .order_by(PaymentRun.month.desc(), PaymentItem.id.desc())
        .limit(limit)
    ).all()
    reissued = _reissued(session, [row.id for row, _ in rows])
    return [_item(row, month, reissued) for row, month in rows]
