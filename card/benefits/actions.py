"""What changes in social security: lives, contributions, pensions, allowances, payment runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, selectinload

from app.kernel import audit, ids, money
from app.kernel.city import city_of
from app.kernel.clock import civil_date
from app.kernel.errors import Conflict, FourEyes, Invalid, NotFound, msg
from app.kernel.explain import Step, as_amount, steps_to_json
from card import ledger
from card.benefits import queries, rules
from card.benefits.models import Award, Contribution, PaymentItem, PaymentRun, Relation
from card.benefits.rules import (
    AwardState,
    Category,
    ContributionState,
    ItemState,
    Record,
    RunState,
)
from card.ledger import TransferCode

PENSION: Final = "pension"
ALLOWANCE: Final = "allowance"
CARD: Final = "card"
BANK: Final = "bank"
REGULAR: Final = "regular"
SUPPLEMENTARY: Final = "supplementary"
PAYABLE: Final = (AwardState.APPROVED, AwardState.IN_PAYMENT, AwardState.SUSPENDED, AwardState.RESUMED)


class NotInsured(Conflict):
    """The person has no insured life here."""

    code = "no-pension-record"
    sentence = msg("There is no pension insurance record for this person here.")


class NothingToPay(Conflict):
    """A run without a single line."""

    code = "nothing-to-pay"
    sentence = msg("Nothing is due for that month.")


class RunNotComplete(Conflict):
    """Some payments are still open."""

    code = "payment-run-not-complete"
    sentence = msg("The run can be closed when every payment is paid, held, returned or ended; %(open)s are still open.")


# --- lives and contributions -----------------------------------------------------------------------------------------------


def take_over(
    session: Session,
    *,
    holder_id: UUID,
    category: Category,
    wage_index: Decimal,
    paid_months: int,
    deemed_months: int,
    balance_minor: int,
    since: date,
) -> None:
    """Take over an insured life from the paper age or another city. Repeating it changes nothing."""
    session.execute(
        insert(Relation)
        .values(
            holder_id=holder_id,
            category=category.value,
            wage_index=wage_index,
            paid_months=paid_months,
            deemed_months=deemed_months,
            balance_minor=balance_minor,
            since=since,
        )
        .on_conflict_do_nothing()
    )


def contribute(session: Session, *, holder_id: UUID, month: date, employer: str, base_minor: int, now: datetime) -> None:
    """Book one month's contribution: the employer's bank pays both shares into the fund. Once a month; repeats are quiet.

    Rates are those of the month. Raises :class:`NotInsured`, ``Invalid``.
    """
    if session.get(Relation, holder_id) is None:
        raise NotInsured
    if base_minor <= 0:
        raise Invalid(fields={"base": msg("The base must be more than zero.")})
    month = rules.month_of(month)
    if session.get(Contribution, (holder_id, month)) is not None:
        return
    rates = rules.pension_rules_on(month).contribution_rates
    base = money.major(base_minor)
    employer_minor = money.half_up_minor(base * rates.employer.value)
    employee_minor = money.half_up_minor(base * rates.employee.value)
    ledger.post_all(
        session,
        [
            ledger.Transfer(
                id=ids.derived_id(now, "contribution", str(holder_id), month.isoformat()),
                debit=ledger.open_account(session, ledger.chart.bank(), now=now),
                credit=ledger.open_account(session, ledger.chart.pension_fund(), now=now),
                amount_minor=employer_minor + employee_minor,
                code=TransferCode.CONTRIBUTION,
                event_at=now,
                reference=f"contribution:{month:%Y-%m}",
            )
        ],
        now=now,
    )
    session.add(
        Contribution(
            holder_id=holder_id,
            month=month,
            employer=employer,
            base_minor=base_minor,
            employer_minor=employer_minor,
            employee_minor=employee_minor,
            state=ContributionState.POSTED.value,
            at=now,
        )
    )
    session.flush()


# --- awards ----------------------------------------------------------------------------------------------------------------


def claim_pension(
    session: Session, *, holder_id: UUID, birth: date, from_month: date, channel: str = CARD, by: str, now: datetime
) -> UUID:
    """Compute a pension from the person's life; another officer approves it. Once per person and month.

    Raises :class:`NotInsured`, ``Invalid`` where the person is too young or has contributed too little.
    """
    found = queries.life(session, holder_id)
    if found is None:
        raise NotInsured
    from_month = rules.month_of(from_month)
    before = session.scalars(
        select(Award).where(Award.holder_id == holder_id, Award.kind == PENSION, Award.state != AwardState.ENDED)
    ).one_or_none()
    if before is not None:
        return before.id
    retires = rules.retirement(rules.retirement_rules_on(from_month), category=found.category, birth=birth)
    fields = {}
    if from_month < retires.earliest:
        fields["from_month"] = msg("The pension begins before the earliest age.")
    if found.paid_months + found.deemed_months < retires.contribution_months:
        fields["contributions"] = msg("There are fewer months of contribution than a pension needs.")
    if fields:
        raise Invalid(fields=fields)
    age_months = (from_month.year - birth.year) * rules.YEAR + from_month.month - birth.month
    computed = rules.pension(
        rules.pension_rules_on(from_month),
        queries.working_life(found, age_years=age_months // rules.YEAR, age_months=age_months % rules.YEAR),
        city=city_of(session).code,
    )
    row = _award(
        holder_id=holder_id,
        kind=PENSION,
        code="basic-pension",
        monthly_minor=computed.monthly_minor,
        from_month=from_month,
        channel=channel,
        state=rules.move_award(AwardState.CLAIMED, AwardState.COMPUTED),
        steps=computed.steps,
        by=by,
        now=now,
    )
    row.computation = {
        "steps": steps_to_json(computed.steps),
        "version": computed.version,
        "index": f"{found.wage_index:f}",
        "paid_months": found.paid_months,
        "deemed_months": found.deemed_months,
        "balance_minor": found.balance_minor,
        "age_months": age_months,
    }
    session.add(row)
    session.flush()
    audit.record(session, actor=by, action="pension.compute", subject=f"award:{row.id}", at=now)
    return row.id


def _award(
    *,
    holder_id: UUID,
    kind: str,
    code: str,
    monthly_minor: int,
    from_month: date,
    channel: str,
    state: AwardState,
    steps: Sequence[Step],
    by: str,
    now: datetime,
) -> Award:
    award_id = ids.new_id()
    return Award(
        id=award_id,
        reference=f"{kind[0].upper()}{from_month:%y%m}-{award_id.hex[-6:].upper()}",
        holder_id=holder_id,
        kind=kind,
        code=code,
        monthly_minor=monthly_minor,
        from_month=from_month,
        paid_through=None,
        state=state.value,
        channel=channel,
        qualified_until=None,
        ended_on=None,
        end_reason=None,
        computation={"steps": steps_to_json(steps)},
        prepared_by=by,
        approved_by=None,
        made_at=now,
    )


def approve_pension(session: Session, *, award_id: UUID, by: str, now: datetime) -> None:
    """Another officer approves a computed pension. Raises ``FourEyes``, ``IllegalMove``."""
    row = _locked_award(session, award_id)
    state = rules.move_award(AwardState(row.state), AwardState.APPROVED)
    if row.prepared_by == by:
        raise FourEyes
    row.state, row.approved_by = state.value, by
    audit.record(session, actor=by, action="pension.approve", subject=f"award:{row.id}", at=now)


def start_allowance(
    session: Session, *, holder_id: UUID, code: str, monthly_minor: int, from_month: date, now: datetime, by: str
) -> UUID:
    """Begin a monthly allowance decided elsewhere, with four eyes, by ``by``; it is in the runs from ``from_month`` on.

    The same person, code and month is the same allowance: repeating it changes nothing.
    """
    from_month = rules.month_of(from_month)
    before = session.scalar(
        select(Award.id).where(Award.holder_id == holder_id, Award.code == code, Award.from_month == from_month)
    )
    if before is not None:
        return before
    amount = as_amount(money.major(monthly_minor))
    step = Step(
        code="allowance",
        sentence=msg("Allowance of %(amount)s a month from %(month)s."),
        params={"amount": amount, "month": f"{from_month:%Y-%m}"},
        result=money.major(monthly_minor),
    )
    row = _award(
        holder_id=holder_id,
        kind=ALLOWANCE,
        code=code,
        monthly_minor=monthly_minor,
        from_month=from_month,
        channel=CARD,
        state=AwardState.APPROVED,
        steps=(step,),
        by=by,
        now=now,
    )
    session.add(row)
    session.flush()
    audit.record(session, actor=by, action="allowance.start", subject=f"award:{row.id}", at=now, details={"code": code})
    return row.id


def take_over_award(
    session: Session,
    *,
    holder_id: UUID,
    monthly_minor: int,
    from_month: date,
    paid_through: date,
    channel: str = CARD,
    qualified_until: date | None = None,
    by: str,
    now: datetime,
) -> UUID:
    """Take over a pension that another system paid until ``paid_through``. Repeating it changes nothing."""
    before = session.scalar(select(Award.id).where(Award.holder_id == holder_id, Award.kind == PENSION))
    if before is not None:
        return before
    step = Step(
        code="taken-over",
        sentence=msg("Taken over at %(amount)s a month, paid through %(month)s."),
        params={"amount": as_amount(money.major(monthly_minor)), "month": f"{paid_through:%Y-%m}"},
        result=money.major(monthly_minor),
    )
    row = _award(
        holder_id=holder_id,
        kind=PENSION,
        code="basic-pension",
        monthly_minor=monthly_minor,
        from_month=rules.month_of(from_month),
        channel=channel,
        state=AwardState.IN_PAYMENT,
        steps=(step,),
        by=by,
        now=now,
    )
    row.paid_through, row.qualified_until = rules.month_of(paid_through), qualified_until
    session.add(row)
    session.flush()
    return row.id


def _locked_award(session: Session, award_id: UUID) -> Award:
    row = session.get(Award, award_id, with_for_update=True)
    if row is None:
        raise queries.NoSuchAward(str(award_id))
    return row


def end_award(session: Session, *, award_id: UUID, ended_on: date, reason: str, by: str, now: datetime) -> None:
    """Somebody died or the entitlement is over: nothing is due after that month. The next run closes the award."""
    row = _locked_award(session, award_id)
    if AwardState(row.state) is AwardState.ENDED:
        rules.move_award(AwardState.ENDED, AwardState.ENDED)
    if ended_on > civil_date(now):
        raise Invalid(fields={"ended_on": msg("The day cannot lie ahead.")})
    row.ended_on, row.end_reason = ended_on, reason
    audit.record(session, actor=by, action="award.end", subject=f"award:{row.id}", at=now, details={"reason": reason})


def confirm_qualification(session: Session, *, award_id: UUID, until: date, by: str, now: datetime) -> None:
    """The yearly confirmation is in; a suspended award resumes, and the next run pays what was held."""
    row = _locked_award(session, award_id)
    row.qualified_until = until
    if AwardState(row.state) is AwardState.SUSPENDED and until >= rules.month_of(civil_date(now)):
        row.state = rules.move_award(AwardState.SUSPENDED, AwardState.RESUMED).value
    audit.record(session, actor=by, action="award.confirm", subject=f"award:{row.id}", at=now)


# --- payment runs ----------------------------------------------------------------------------------------------------------


def prepare_run(session: Session, *, month: date, by: str, now: datetime) -> UUID:
    """Reckon the regular run of a month from every award, ready for approval.

    Raises :class:`NothingToPay`; ``RunOpen`` or ``RunExists`` when the transaction is written.
    """
    month = rules.month_of(month)
    run = _new_run(session, month=month, kind=REGULAR, by=by, now=now)
    rows = session.scalars(
        select(Award)
        .where(Award.state.in_([state.value for state in PAYABLE]), Award.from_month <= month)
        .order_by(Award.reference, Award.id)
        .with_for_update()
    ).all()
    number = 0
    for row in rows:
        line = rules.line_for(queries.award_view(row).standing, month=month)
        if line is None:
            continue
        number += 1
        session.add(
            PaymentItem(
                run_id=run.id,
                award_id=row.id,
                number=number,
                state=line.state.value,
                amount_minor=line.amount_minor,
                months=[f"{paid:%Y-%m}" for paid in line.months],
                steps=steps_to_json(line.steps),
                channel=row.channel,
            )
        )
    return _prepared(session, run, number, by=by, now=now)


def prepare_reissue(session: Session, *, channel: str = CARD, by: str, now: datetime) -> UUID:
    """Prepare a supplementary run that issues every returned payment again, once, by ``channel``.

    Raises :class:`NothingToPay` where nothing waits.
    """
    done = select(PaymentItem.replaces_id).where(PaymentItem.replaces_id.is_not(None))
    returned = session.scalars(
        select(PaymentItem)
        .where(PaymentItem.state == ItemState.RETURNED, PaymentItem.id.not_in(done))
        .options(selectinload(PaymentItem.award))
        .order_by(PaymentItem.id)
        .with_for_update()
    ).all()
    run = _new_run(session, month=rules.month_of(civil_date(now)), kind=SUPPLEMENTARY, by=by, now=now)
    for number, item in enumerate(returned, 1):
        step = Step(
            code="reissued",
            sentence=msg("Issued again: %(amount)s came back (%(reason)s)."),
            params={"amount": as_amount(money.major(item.amount_minor)), "reason": item.return_reason or ""},
            result=money.major(item.amount_minor),
        )
        session.add(
            PaymentItem(
                run_id=run.id,
                award_id=item.award_id,
                number=number,
                state=ItemState.DUE.value,
                amount_minor=item.amount_minor,
                months=item.months,
                steps=steps_to_json([step]),
                channel=channel,
                replaces_id=item.id,
            )
        )
    return _prepared(session, run, len(returned), by=by, now=now)


def _new_run(session: Session, *, month: date, kind: str, by: str, now: datetime) -> PaymentRun:
    run = PaymentRun(id=ids.new_id(), month=month, kind=kind, state=RunState.GENERATING.value, prepared_by=by, prepared_at=now)
    session.add(run)
    session.flush()
    return run


def _prepared(session: Session, run: PaymentRun, count: int, *, by: str, now: datetime) -> UUID:
    if not count:
        raise NothingToPay
    run.state = rules.move_run(RunState(run.state), RunState.PENDING_APPROVAL).value
    session.flush()
    audit.record(session, actor=by, action="payment-run.prepare", subject=f"payment-run:{run.id}", at=now)
    return run.id


def _locked_run(session: Session, run_id: UUID) -> PaymentRun:
    row = session.scalars(
        select(PaymentRun)
        .where(PaymentRun.id == run_id)
        .options(selectinload(PaymentRun.items).selectinload(PaymentItem.award))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise queries.NoSuchRun(str(run_id))
    return row


def approve_run(session: Session, *, run_id: UUID, by: str, now: datetime) -> None:
    """Another person approves the run. Raises ``FourEyes``, ``IllegalMove``."""
    run = _locked_run(session, run_id)
    state = rules.move_run(RunState(run.state), RunState.APPROVED)
    if run.prepared_by == by:
        raise FourEyes
    run.state, run.approved_by, run.decided_at = state.value, by, now
    audit.record(session, actor=by, action="payment-run.approve", subject=f"payment-run:{run.id}", at=now)


def reject_run(session: Session, *, run_id: UUID, reason: str, by: str, now: datetime) -> None:
    """Send the run back, with the reason; the month may be prepared again."""
    run = _locked_run(session, run_id)
    if not reason.strip():
        raise Invalid(fields={"reason": msg("Say why.")})
    run.state = rules.move_run(RunState(run.state), RunState.REJECTED).value
    run.rejected_because, run.decided_at = reason.strip(), now
    audit.record(session, actor=by, action="payment-run.reject", subject=f"payment-run:{run.id}", at=now)


def send_run(session: Session, *, run_id: UUID, by: str, now: datetime) -> str:
    """Pay an approved run: onto cards at once, the rest by a file to the bank; answer the file.

    An award that ended, lapsed or changed since the run was prepared is held instead; the next run decides on it afresh.
    """
    run = _locked_run(session, run_id)
    state = rules.move_run(RunState(run.state), RunState.IN_PAYMENT)
    by_id = {item.award_id: item for item in run.items}
    session.scalars(select(Award).where(Award.id.in_(by_id)).order_by(Award.id).with_for_update()).all()
    transfers = []
    records = []
    for item in run.items:
        item_state = ItemState(item.state)
        award = item.award
        if item_state is ItemState.ENDED:
            award.state = rules.move_award(AwardState(award.state), AwardState.ENDED).value
            continue
        if item_state is ItemState.DUE and not _still_due(run, item):
            item.state = rules.move_item(item_state, ItemState.HELD).value
            continue
        if item_state is ItemState.HELD:
            if AwardState(award.state) is not AwardState.SUSPENDED:
                award.state = rules.move_award(AwardState(award.state), AwardState.SUSPENDED).value
            continue
        transfers.append(_payment(session, run, item, now=now))
        item.transfer_id = transfers[-1].id
        paid = item.channel == CARD
        item.state = rules.move_item(item_state, ItemState.PAID if paid else ItemState.SENT).value
        item.settled_at = now if paid else None
        records.append(
            Record(
                number=item.number,
                reference=award.reference,
                channel=item.channel,
                months=tuple(item.months),
                amount_minor=item.amount_minor,
            )
        )
        if item.replaces_id is None:
            award.paid_through = run.month
        if AwardState(award.state) in (AwardState.APPROVED, AwardState.RESUMED):
            award.state = rules.move_award(AwardState(award.state), AwardState.IN_PAYMENT).value
    ledger.post_all(session, transfers, now=now)
    file = rules.payment_file(records, month=run.month, run=str(run.id))
    run.state, run.sent_at, run.file_digest = state.value, now, rules.file_digest(file)
    audit.record(
        session,
        actor=by,
        action="payment-run.send",
        subject=f"payment-run:{run.id}",
        at=now,
        details={"records": len(records), "digest": run.file_digest},
    )
    return file


def _still_due(run: PaymentRun, item: PaymentItem) -> bool:
    if item.replaces_id is not None:
        return True
    line = rules.line_for(queries.award_view(item.award).standing, month=run.month)
    return line is not None and (line.state, line.amount_minor) == (ItemState.DUE, item.amount_minor)


def _payment(session: Session, run: PaymentRun, item: PaymentItem, *, now: datetime) -> ledger.Transfer:
    pension = item.award.kind == PENSION
    fund = ledger.chart.pension_fund() if pension else ledger.chart.allowance_fund()
    to = ledger.chart.purse(item.award.holder_id) if item.channel == CARD else ledger.chart.bank()
    return ledger.Transfer(
        id=ids.derived_id(run.prepared_at, "benefit", str(item.id)),
        debit=ledger.open_account(session, fund, now=now),
        credit=ledger.open_account(session, to, now=now),
        amount_minor=item.amount_minor,
        code=TransferCode.PENSION if pension else TransferCode.ALLOWANCE,
        event_at=now,
        reference=f"payment-run:{run.month:%Y-%m}",
    )


def _open_item(session: Session, item_id: UUID) -> PaymentItem:
    row = session.get(PaymentItem, item_id, with_for_update={"of": PaymentItem})
    if row is None:
        raise NotFound(str(item_id))
    return row


def bank_paid(session: Session, *, item_id: UUID, by: str, now: datetime) -> None:
    """The bank reports a payment as made."""
    item = _open_item(session, item_id)
    item.state, item.settled_at = rules.move_item(ItemState(item.state), ItemState.PAID).value, now
    audit.record(session, actor=by, action="payment-item.paid", subject=f"payment-item:{item.id}", at=now)


def bank_returned(session: Session, *, item_id: UUID, reason: str, by: str, now: datetime) -> None:
    """The bank sends a payment back; the money returns to the fund until it is issued again."""
    item = _open_item(session, item_id)
    if not reason.strip():
        raise Invalid(fields={"reason": msg("Say why.")})
    item.state = rules.move_item(ItemState(item.state), ItemState.RETURNED).value
    item.return_reason, item.settled_at = reason.strip(), now
    assert item.transfer_id is not None, "what was sent was booked"
    ledger.reverse(
        session,
        original_id=item.transfer_id,
        reversal_id=ids.derived_id(now, "benefit-returned", str(item.id)),
        now=now,
    )
    audit.record(session, actor=by, action="payment-item.return", subject=f"payment-item:{item.id}", at=now)


def close_run(session: Session, *, run_id: UUID, by: str, now: datetime) -> None:
    """Close a run in which every item is paid, held, returned or ended. Raises :class:`RunNotComplete`."""
    run = _locked_run(session, run_id)
    state = rules.move_run(RunState(run.state), RunState.RECONCILED)
    open_items = [item for item in run.items if ItemState(item.state) not in rules.FINAL_ITEMS]
    if open_items:
        raise RunNotComplete(open=len(open_items))
    run.state, run.reconciled_at = state.value, now
    audit.record(session, actor=by, action="payment-run.close", subject=f"payment-run:{run.id}", at=now)


@dataclass(frozen=True, kw_only=True)
class PaymentFile:
    """A run's file as it was sent."""

    name: str
    text: str


def file_of(session: Session, run_id: UUID) -> PaymentFile:
    """The file of a sent run, made again from its items; its digest is the one that was kept."""
    found = queries.run(session, run_id)
    if found.sent_at is None:
        raise queries.NoSuchRun(str(run_id))
    records = [
        Record(
            number=item.number,
            reference=item.award.reference,
            channel=item.channel,
            months=item.months,
            amount_minor=item.amount_minor,
        )
        for item in found.items
        if item.state in rules.IN_FILE
    ]
    text = rules.payment_file(records, month=found.month, run=str(found.id))
    assert rules.file_digest(text) == found.file_digest, "the items of a sent run do not change"
    return PaymentFile(name=f"payment-run-{found.month:%Y-%m}-{found.kind}.csv", text=text)
