"""What changes in health: coverage, filings, catalogue, claims at the place of treatment, settlements at the insured place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, selectinload

from app.kernel import audit, ids, outbox
from app.kernel.city import city_of
from app.kernel.clock import civil_date
from app.kernel.db import Json, refuse_on_constraint
from app.kernel.errors import Conflict, FourEyes, Invalid, NotFound, msg
from app.kernel.explain import steps_to_json
from card import credentials, ledger
from card.health import queries, rules
from card.health.models import Accumulator, CatalogueItem, Claim, ClaimLine, Coverage, Filing, FundLine, Hospital, Settlement
from card.health.rules import (
    BillLine,
    ClaimRequest,
    ClaimState,
    FilingKind,
    FilingState,
    ItemClass,
    Level,
    Payer,
    Scheme,
    Split,
    Status,
)
from card.ledger import TransferCode

CODES: Final = {
    Payer.POOL: TransferCode.HEALTH_POOLED,
    Payer.CATASTROPHIC: TransferCode.HEALTH_CATASTROPHIC,
    Payer.OTHER_FUND: TransferCode.HEALTH_POOLED,
    Payer.MEDICAL_AID: TransferCode.HEALTH_POOLED,
    Payer.OWN_ACCOUNT: TransferCode.HEALTH_OWN_ACCOUNT,
    Payer.FAMILY_ACCOUNT: TransferCode.HEALTH_FAMILY_ACCOUNT,
}


class ClaimChanged(Conflict):
    """The same message id came before with another bill."""

    code = "claim-changed"
    sentence = msg("This claim was settled before with other figures.")


class ClaimReversed(Conflict):
    """The claim was taken back; a new bill needs a new claim."""

    code = "claim-reversed"
    sentence = msg("This claim was reversed. Register a new one.")


class ClaimWaiting(Conflict):
    """Settlement was asked for and its answer is not known yet."""

    code = "claim-waiting"
    sentence = msg("The settlement of this claim was asked for; its answer is not here yet. Ask again in a moment.")


class AnotherReversal(Conflict):
    """The claim was reversed under another id."""

    code = "already-reversed"
    sentence = msg("This claim was reversed before.")


class ClaimRaced(Conflict):
    """The same claim arrived twice at the same instant; the other one was taken."""

    code = "claim-raced"
    sentence = msg("The same claim is being settled right now. Ask again.")


refuse_on_constraint("pk_health_settlement", ClaimRaced)


# --- set-up: hospitals, catalogue, coverage --------------------------------------------------------------------------------


def open_hospital(session: Session, *, hospital_id: str, name: dict[str, str], level: Level, now: datetime) -> None:
    """Let a hospital or pharmacy of this city settle; repeating it changes nothing. ``name`` is by language."""
    session.execute(
        insert(Hospital).values(id=hospital_id, name=name, level=level.value, opened_at=now).on_conflict_do_nothing()
    )
    ledger.open_account(session, ledger.chart.hospital(hospital_id), now=now)


def put_item(
    session: Session,
    *,
    code: str,
    name: dict[str, str],
    unit: dict[str, str],
    item_class: ItemClass,
    price_minor: int,
    first_self_pay: Decimal = rules.ZERO,
    limit_minor: int | None = None,
    valid_from: date,
    source: str,
) -> None:
    """Add a version of a catalogue item, in force from a day on. Versions are never edited; a repeat is quiet."""
    session.execute(
        insert(CatalogueItem)
        .values(
            code=code,
            valid_from=valid_from,
            name=name,
            unit=unit,
            item_class=item_class.value,
            first_self_pay=first_self_pay,
            price_minor=price_minor,
            limit_minor=limit_minor,
            source=source,
        )
        .on_conflict_do_nothing()
    )


def cover(
    session: Session,
    *,
    holder_id: UUID,
    scheme: Scheme,
    status: Status,
    valid_from: date,
    entitled: Sequence[Payer] = (),
    now: datetime,
) -> UUID:
    """Insure somebody here; opens the personal and the family account. Repeating it for the same day changes nothing."""
    before = session.scalar(select(Coverage.id).where(Coverage.holder_id == holder_id, Coverage.valid_from == valid_from))
    if before is not None:
        return before
    row = Coverage(
        holder_id=holder_id,
        scheme=scheme.value,
        status=status.value,
        entitled=[payer.value for payer in entitled],
        valid_from=valid_from,
        valid_to=None,
    )
    session.add(row)
    for spec in (ledger.chart.medical(holder_id), ledger.chart.family(holder_id)):
        ledger.open_account(session, spec, now=now)
    session.flush()
    return row.id


def carry_over(
    session: Session,
    *,
    holder_id: UUID,
    year: int,
    self_pay_minor: int = 0,
    pool_used_minor: int = 0,
    admissions: int = 0,
) -> None:
    """Take over what a year had used up before this system kept it. Only where the year has not begun here."""
    session.execute(
        insert(Accumulator)
        .values(
            holder_id=holder_id,
            year=year,
            admissions=admissions,
            pool_used_minor=pool_used_minor,
            self_pay_minor=self_pay_minor,
            catastrophic_minor=0,
        )
        .on_conflict_do_nothing()
    )


# --- filings ---------------------------------------------------------------------------------------------------------------


def file(
    session: Session,
    *,
    holder_id: UUID,
    kind: FilingKind,
    region: str,
    reason: str,
    valid_from: date,
    valid_to: date | None = None,
    by: str,
    now: datetime,
) -> UUID:
    """File for treatment in another city; an officer decides, except in an emergency, which takes effect at once.

    Raises ``Invalid`` by field, and :class:`card.health.models.FilingOverlaps` where the same filing is open.
    """
    fields = {}
    if region == city_of(session).code:
        fields["region"] = msg("Treatment in your own city needs no filing.")
    if valid_to is not None and valid_to < valid_from:
        fields["valid_to"] = msg("The last day is before the first.")
    if not reason.strip():
        fields["reason"] = msg("Say why.")
    if fields:
        raise Invalid(fields=fields)
    if queries.coverage(session, holder_id, on=max(valid_from, civil_date(now))) is None:
        raise queries.NotCovered
    row = Filing(
        holder_id=holder_id,
        kind=kind.value,
        region=region,
        reason=reason.strip(),
        valid_from=valid_from,
        valid_to=valid_to,
        state=rules.move_filing(FilingState.DRAFT, FilingState.FILED).value,
        filed_by=by,
        filed_at=now,
        decided_by=None,
        decided_at=None,
    )
    if kind is FilingKind.EMERGENCY:
        row.state = rules.move_filing(FilingState.FILED, FilingState.ACTIVE).value
        row.decided_by, row.decided_at = "system", now
    session.add(row)
    session.flush()
    audit.record(session, actor=by, action="filing.file", subject=f"filing:{row.id}", at=now, details={"region": region})
    return row.id


def _filing(session: Session, filing_id: UUID) -> Filing:
    row = session.get(Filing, filing_id, with_for_update=True)
    if row is None:
        raise NotFound(str(filing_id))
    return row


def activate_filing(session: Session, *, filing_id: UUID, by: str, now: datetime) -> None:
    """An officer confirms a filing; never the one who filed it. Raises ``FourEyes``, ``IllegalMove``."""
    row = _filing(session, filing_id)
    state = rules.move_filing(FilingState(row.state), FilingState.ACTIVE)
    if row.filed_by == by:
        raise FourEyes
    row.state, row.decided_by, row.decided_at = state.value, by, now
    audit.record(session, actor=by, action="filing.activate", subject=f"filing:{row.id}", at=now)


def cancel_filing(session: Session, *, filing_id: UUID, by: str, now: datetime, holder_id: UUID | None = None) -> None:
    """End a filing; with ``holder_id`` only that person's own. What was settled under it stays."""
    row = _filing(session, filing_id)
    if holder_id is not None and row.holder_id != holder_id:
        raise NotFound(str(filing_id))
    row.state = rules.move_filing(FilingState(row.state), FilingState.CANCELLED).value
    row.decided_by, row.decided_at = by, now
    audit.record(session, actor=by, action="filing.cancel", subject=f"filing:{row.id}", at=now)


def expire_filings(session: Session, *, now: datetime) -> int:
    """Close the filings whose last day is past; answer how many."""
    rows = session.scalars(
        select(Filing)
        .where(Filing.state == FilingState.ACTIVE, Filing.valid_to < civil_date(now))
        .order_by(Filing.id)
        .with_for_update(skip_locked=True)
        .limit(500)
    ).all()
    for row in rows:
        row.state = rules.move_filing(FilingState.ACTIVE, FilingState.EXPIRED).value
    return len(rows)


# --- the place of treatment ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LineAsked:
    """A line as the hospital enters it: an item of the catalogue, how many, the price of one in fen (or the catalogue's)."""

    code: str
    quantity: Decimal
    unit_price_minor: int | None = None


def register(
    session: Session,
    *,
    hospital_id: str,
    card_number: str,
    admitted_on: date,
    by: str,
    now: datetime,
    claim_id: UUID | None = None,
) -> UUID:
    """Open a claim for whoever shows this card; the card's number says where they are insured."""
    queries.hospital(session, hospital_id)
    if admitted_on > civil_date(now):
        raise Invalid(fields={"admitted_on": msg("The day of admission cannot lie ahead.")})
    number = credentials.card_number.parse(card_number)
    own = city_of(session).code
    row = Claim(
        id=claim_id or ids.new_id(),
        hospital_id=hospital_id,
        card_number=number,
        insured_region=credentials.issuing_city(number),
        treating_region=own,
        admitted_on=admitted_on,
        state=ClaimState.REGISTERED.value,
        registered_by=by,
        registered_at=now,
    )
    session.add(row)
    session.flush()
    audit.record(session, actor=by, action="claim.register", subject=f"claim:{row.id}", at=now)
    return row.id


def _claim(session: Session, claim_id: UUID) -> Claim:
    row = session.get(Claim, claim_id, with_for_update={"of": Claim}, options=[selectinload(Claim.lines)])
    if row is None:
        raise queries.NoSuchClaim(str(claim_id))
    return row


def set_lines(session: Session, *, claim_id: UUID, lines: Sequence[LineAsked]) -> None:
    """Write the bill; this city's catalogue of the day of admission splits each line. Replaces what was entered before."""
    row = _claim(session, claim_id)
    if row.accepted_at is not None and row.settled_at is None:
        raise ClaimWaiting
    row.state = rules.move_claim(ClaimState(row.state), ClaimState.LINES).value
    if not lines:
        raise Invalid(fields={"lines": msg("A claim needs at least one line.")})
    row.lines.clear()
    session.flush()
    for number, asked in enumerate(lines, 1):
        item = queries.catalogue_item(session, asked.code, on=row.admitted_on)
        price = item.price_minor if asked.unit_price_minor is None else asked.unit_price_minor
        facts = rules.line_facts(
            BillLine(
                number=number,
                code=item.code,
                name=item.name,
                item_class=item.item_class,
                quantity=asked.quantity,
                unit_price_minor=price,
                first_self_pay=item.first_self_pay,
                limit_minor=item.limit_minor,
            )
        )
        row.lines.append(
            ClaimLine(
                number=number,
                code=item.code,
                name=item.name,
                item_class=item.item_class.value,
                quantity=asked.quantity,
                unit_price_minor=price,
                amount=facts.amount,
                own=facts.own,
                over=facts.over,
                pre=facts.pre,
                scope=facts.scope,
                steps=steps_to_json(facts.steps),
            )
        )
    row.split, row.pre_settled_at = None, None


def note_pre_settled(session: Session, *, claim_id: UUID, split: Split, now: datetime) -> None:
    """Keep the split that the insured place foresees. No money moves."""
    row = _claim(session, claim_id)
    if row.accepted_at is not None:
        raise ClaimWaiting
    row.state = rules.move_claim(ClaimState(row.state), ClaimState.PRE_SETTLED).value
    row.split, row.pre_settled_at = rules.split_to_json(split), now


def ask_settlement(session: Session, *, claim_id: UUID, by: str, now: datetime) -> ClaimRequest | None:
    """Fix the instant of acceptance and answer what to put to the insured place; none where the claim is settled already.

    The instant is set once and written before anything is sent, so that a repetition after a crash is the same message.
    """
    row = _claim(session, claim_id)
    if row.settled_at is not None:
        return None
    rules.move_claim(ClaimState(row.state), ClaimState.SETTLED)
    if row.accepted_at is None:
        row.accepted_at, row.settled_by = now, by
        session.flush()
    return queries.claim(session, claim_id).request(now)


def withdraw_question(session: Session, *, claim_id: UUID) -> None:
    """The insured place refused: nothing was settled, the claim may be changed and asked again."""
    row = _claim(session, claim_id)
    if row.settled_at is None:
        row.accepted_at, row.settled_by = None, None


def note_settled(session: Session, *, claim_id: UUID, split: Split, now: datetime) -> None:
    """The insured place has settled: book what it owes to the hospital, tell the clearing. Repeats are quiet."""
    row = _claim(session, claim_id)
    if row.settled_at is not None:
        return
    assert row.accepted_at is not None, "settlement was asked for"
    row.state = rules.move_claim(ClaimState(row.state), ClaimState.SETTLED).value
    row.split, row.settled_at = rules.split_to_json(split), now
    audit.record(
        session,
        actor=row.settled_by or "system",
        action="claim.settle",
        subject=f"claim:{row.id}",
        at=now,
        details={"owed_minor": split.owed_minor, "total_minor": split.total_minor},
    )
    if row.insured_region == row.treating_region or not split.owed_minor:
        return
    ledger.post_all(
        session,
        [
            ledger.Transfer(
                id=_owed_transfer_id(row.accepted_at, row.id),
                debit=ledger.open_account(session, ledger.chart.due_from(row.insured_region), now=now),
                credit=ledger.open_account(session, ledger.chart.hospital(row.hospital_id), now=now),
                amount_minor=split.owed_minor,
                code=TransferCode.FOREIGN_HEALTH,
                event_at=row.accepted_at,
                reference=_reference(row.id),
            )
        ],
        now=now,
    )
    outbox.emit(
        session,
        "charge.foreign",
        _charge(
            charge_id=row.id,
            issuer=row.insured_region,
            acquirer=row.treating_region,
            amount_minor=split.owed_minor,
            card_number=row.card_number,
            hospital_id=row.hospital_id,
            claim_id=row.id,
            accepted_at=row.accepted_at,
        ),
        at=now,
    )


def _owed_transfer_id(accepted_at: datetime, claim_id: UUID) -> UUID:
    return ids.derived_id(accepted_at, "health-owed", str(claim_id))


def _share_transfer_id(accepted_at: datetime, claim_id: UUID, payer: Payer) -> UUID:
    return ids.derived_id(accepted_at, "health-share", str(claim_id), payer.value)


def _reference(claim_id: UUID) -> str:
    return f"claim:{claim_id}"


def _charge(
    *,
    charge_id: UUID,
    issuer: str,
    acquirer: str,
    amount_minor: int,
    card_number: str,
    hospital_id: str,
    claim_id: UUID,
    accepted_at: datetime,
) -> Json:
    """What the clearing takes up on either side: the two documents of one claim are equal."""
    return {
        "id": str(charge_id),
        "issuer": issuer,
        "acquirer": acquirer,
        "amount_minor": amount_minor,
        "kind": "health",
        "card_number": card_number,
        "reference": _reference(claim_id),
        "terminal_id": hospital_id,
        "counter": 0,
        "event_at": accepted_at.isoformat(),
        "accepted_at": accepted_at.isoformat(),
    }


def ask_reversal(
    session: Session, *, claim_id: UUID, reason: str, by: str, now: datetime
) -> tuple[ClaimRequest, UUID, datetime] | None:
    """Fix the id and instant of a reversal and answer what to put to the insured place; none where it is done already."""
    row = _claim(session, claim_id)
    if row.reversed_at is not None:
        return None
    rules.move_claim(ClaimState(row.state), ClaimState.REVERSED)
    if not reason.strip():
        raise Invalid(fields={"reason": msg("Say why.")})
    if row.reversal_id is None or row.reversal_asked_at is None:
        row.reversal_id, row.reversal_reason, row.reversal_asked_at = ids.new_id(), reason.strip(), now
        audit.record(session, actor=by, action="claim.reverse", subject=f"claim:{row.id}", at=now, details={"reason": reason})
        session.flush()
    return queries.claim(session, claim_id).request(now), row.reversal_id, row.reversal_asked_at


def note_reversed(session: Session, *, claim_id: UUID, now: datetime) -> None:
    """The insured place has taken the settlement back: so do we. Repeats are quiet."""
    row = _claim(session, claim_id)
    if row.reversed_at is not None:
        return
    assert row.reversal_id is not None
    assert row.reversal_asked_at is not None
    assert row.accepted_at is not None
    assert row.split is not None
    row.state = rules.move_claim(ClaimState(row.state), ClaimState.REVERSED).value
    row.reversed_at = now
    owed = rules.split_from_json(row.split).owed_minor
    if row.insured_region == row.treating_region or not owed:
        return
    ledger.reverse(
        session,
        original_id=_owed_transfer_id(row.accepted_at, row.id),
        reversal_id=ids.derived_id(row.reversal_asked_at, "health-owed-reversed", str(row.reversal_id)),
        now=now,
        reference=_reference(row.id),
        code=TransferCode.HEALTH_CORRECTION,
    )
    outbox.emit(
        session,
        "charge.foreign",
        _charge(
            charge_id=row.reversal_id,
            issuer=row.insured_region,
            acquirer=row.treating_region,
            amount_minor=-owed,
            card_number=row.card_number,
            hospital_id=row.hospital_id,
            claim_id=row.id,
            accepted_at=row.reversal_asked_at,
        ),
        at=now,
    )


# --- the insured place -----------------------------------------------------------------------------------------------------


def foresee(session: Session, request: ClaimRequest) -> Split:
    """What each payer would pay of this bill. Changes nothing."""
    rules.check_facts(request.lines)
    holder_id = queries.holder_of_card(session, request.card_number)
    return queries.inputs_for(session, request, holder_id).split(request.lines, on=request.admitted_on)


def settle(session: Session, request: ClaimRequest, *, now: datetime) -> Split:
    """Settle a bill of somebody insured here, once per message id; a repetition gets the first answer.

    Each payer's share moves to the hospital where it is ours, else to what we owe the city of treatment. Raises
    :class:`ClaimChanged`, :class:`ClaimReversed`, :class:`card.health.queries.NotCovered`, ``FilingRequired``, ``BadLine``.
    """
    rules.check_facts(request.lines)
    holder_id = queries.holder_of_card(session, request.card_number)
    year = _lock_year(session, holder_id, request.admitted_on.year)
    before = session.get(Settlement, request.id)
    if before is not None:
        if before.digest != request.digest:
            raise ClaimChanged
        if before.reversed_at is not None:
            raise ClaimReversed
        return rules.split_from_json(before.split)
    inputs = queries.inputs_for(session, request, holder_id)
    split = inputs.split(request.lines, on=request.admitted_on)
    away = inputs.away
    to = ledger.chart.due_to(request.treating_region) if away else ledger.chart.hospital(request.hospital_id)
    credit = ledger.open_account(session, to, now=now)
    paying = [share for share in split.shares if share.amount_minor and share.payer is not Payer.CASH]
    ledger.post_all(
        session,
        [
            ledger.Transfer(
                id=_share_transfer_id(request.accepted_at, request.id, share.payer),
                debit=ledger.open_account(session, _account_of(share.payer, inputs.scheme, holder_id), now=now),
                credit=credit,
                amount_minor=share.amount_minor,
                code=CODES[share.payer],
                event_at=request.accepted_at,
                reference=_reference(request.id),
            )
            for share in paying
        ],
        now=now,
    )
    session.add(
        Settlement(
            id=request.id,
            holder_id=holder_id,
            card_number=request.card_number,
            treating_region=request.treating_region,
            hospital_id=request.hospital_id,
            hospital_name=dict(request.hospital_name),
            admitted_on=request.admitted_on,
            digest=request.digest,
            state=ClaimState.SETTLED.value,
            facts=rules.facts_to_json(request.lines),
            inputs=_inputs_json(inputs),
            split=rules.split_to_json(split),
            total_minor=split.total_minor,
            owed_minor=split.owed_minor,
            accepted_at=request.accepted_at,
            settled_at=now,
        )
    )
    session.flush()
    session.add_all(
        FundLine(
            settlement_id=request.id,
            payer=share.payer.value,
            position=list(Payer).index(share.payer),
            amount_minor=share.amount_minor,
            transfer_id=None if share.payer is Payer.CASH else _share_transfer_id(request.accepted_at, request.id, share.payer),
        )
        for share in split.shares
        if share.amount_minor
    )
    year.admissions += 1
    year.pool_used_minor += split.paid_by(Payer.POOL)
    year.self_pay_minor += split.self_pay_in_scope_minor
    year.catastrophic_minor += split.paid_by(Payer.CATASTROPHIC)
    audit.record(
        session,
        actor=f"city:{request.treating_region}",
        action="settlement.settle",
        subject=f"settlement:{request.id}",
        at=now,
        details={"hospital": request.hospital_id, "total_minor": split.total_minor},
    )
    if away and split.owed_minor:
        _emit_debit(session, request_id=request.id, row=_Debited.of(request, split), accepted_at=request.accepted_at, now=now)
    return split


@dataclass(frozen=True, kw_only=True)
class _Debited:
    """What the issuer's side of a charge needs to say."""

    claim_id: UUID
    treating_region: str
    card_number: str
    hospital_id: str
    amount_minor: int

    @classmethod
    def of(cls, request: ClaimRequest, split: Split) -> "_Debited":
        return cls(
            claim_id=request.id,
            treating_region=request.treating_region,
            card_number=request.card_number,
            hospital_id=request.hospital_id,
            amount_minor=split.owed_minor,
        )


def _emit_debit(session: Session, *, request_id: UUID, row: _Debited, accepted_at: datetime, now: datetime) -> None:
    outbox.emit(
        session,
        "debit.foreign",
        _charge(
            charge_id=request_id,
            issuer=city_of(session).code,
            acquirer=row.treating_region,
            amount_minor=row.amount_minor,
            card_number=row.card_number,
            hospital_id=row.hospital_id,
            claim_id=row.claim_id,
            accepted_at=accepted_at,
        ),
        at=now,
    )


def _account_of(payer: Payer, scheme: Scheme, holder_id: UUID) -> ledger.AccountSpec:
    match payer:
        case Payer.POOL:
            return ledger.chart.pooled_fund(scheme.value)
        case Payer.CATASTROPHIC:
            return ledger.chart.catastrophic_fund(scheme.value)
        case Payer.OTHER_FUND | Payer.MEDICAL_AID:
            return ledger.chart.pooled_fund(payer.value)
        case Payer.OWN_ACCOUNT:
            return ledger.chart.medical(holder_id)
        case Payer.FAMILY_ACCOUNT:
            return ledger.chart.family(holder_id)
        case Payer.CASH:
            raise AssertionError("cash is paid at the desk, not from an account")


def _lock_year(session: Session, holder_id: UUID, year: int) -> Accumulator:
    """The person's year, locked until the end of the transaction: claims of one person are settled one after another."""
    carry_over(session, holder_id=holder_id, year=year)
    return session.scalars(
        select(Accumulator).where(Accumulator.holder_id == holder_id, Accumulator.year == year).with_for_update()
    ).one()


def _inputs_json(inputs: queries.Inputs) -> Json:
    return {
        "region": inputs.region,
        "scheme": inputs.scheme.value,
        "status": inputs.status.value,
        "level": inputs.level.value,
        "filing": None if inputs.filing is None else inputs.filing.value,
        "away": inputs.away,
        "entitled": sorted(payer.value for payer in inputs.entitled),
        "year": vars(inputs.year),
        "own_account_minor": inputs.own_account_minor,
        "family_account_minor": inputs.family_account_minor,
    }


def take_back(
    session: Session,
    *,
    settlement_id: UUID,
    reversal_id: UUID,
    treating_region: str,
    reason: str,
    asked_at: datetime,
    now: datetime,
) -> None:
    """Take a settlement back: every share returns to its payer and the year is as it was. Once; repeats are quiet.

    Where its clearing file has gone out already, the return is a charge of its own, below zero, in the next one.
    """
    row = session.get(Settlement, settlement_id)
    if row is None or row.treating_region != treating_region:
        raise queries.NoSuchClaim(str(settlement_id))
    year = _lock_year(session, row.holder_id, row.admitted_on.year)
    session.refresh(row, with_for_update=True)
    if row.reversed_at is not None:
        if row.reversal_id != reversal_id:
            raise AnotherReversal
        return
    row.state, row.reversed_at = ClaimState.REVERSED.value, now
    row.reversal_id, row.reversal_reason = reversal_id, reason
    lines = session.scalars(select(FundLine).where(FundLine.settlement_id == row.id).order_by(FundLine.position)).all()
    for line in lines:
        if line.transfer_id is not None:
            ledger.reverse(
                session,
                original_id=line.transfer_id,
                reversal_id=ids.derived_id(asked_at, "health-share-reversed", str(reversal_id), line.payer),
                now=now,
                reference=_reference(row.id),
                code=TransferCode.HEALTH_CORRECTION,
            )
    split = rules.split_from_json(row.split)
    year.admissions -= 1
    year.pool_used_minor -= split.paid_by(Payer.POOL)
    year.self_pay_minor -= split.self_pay_in_scope_minor
    year.catastrophic_minor -= split.paid_by(Payer.CATASTROPHIC)
    audit.record(
        session,
        actor=f"city:{treating_region}",
        action="settlement.reverse",
        subject=f"settlement:{row.id}",
        at=now,
        details={"reason": reason},
    )
    if row.treating_region != city_of(session).code and row.owed_minor:
        debited = _Debited(
            claim_id=row.id,
            treating_region=row.treating_region,
            card_number=row.card_number,
            hospital_id=row.hospital_id,
            amount_minor=-row.owed_minor,
        )
        _emit_debit(session, request_id=reversal_id, row=debited, accepted_at=asked_at, now=now)
