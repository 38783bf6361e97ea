"""Price card-days and post what changed: the one place where fares become money.

Every arrival prices the whole card-day again (and later days whose caps look back on it) and posts only the difference. One
card is priced by one transaction at a time, under an advisory lock on its number.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import clock, outbox
from app.kernel.city import city_of
from app.kernel.clock import SHANGHAI
from app.kernel.db import Json
from app.kernel.ids import derived_id
from card import cards, credentials, fares, ledger
from card.fares import Charge, Entitlement, PastFare, PricedJourney, Rider, State, Tap, Tariffs
from card.ledger import Transfer, TransferCode, chart
from card.transit import fraud, habits, network
from card.transit.models import ClaimedTap, Debt, FarePosting, JourneyRow, PresentmentOut, TapRow
from card.transit.rules import Difference, Liability, differences

LOOK_BACK: Final = timedelta(days=8)  # the longest window that is not a calendar month: a week, and a day's slack


def lock_cards(session: Session, numbers: Iterable[str]) -> None:
    """Let this transaction alone price these cards; locks are taken in one order, so two batches never wait in a ring."""
    for number in sorted(set(numbers)):
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 4))"), {"key": number})


def price_again(
    session: Session, *, card_number: str, days: Iterable[date], cause: tuple[str, ...], liability: Liability, now: datetime
) -> int:
    """Price ``days`` of a card and every later day that depends on them; post the differences.

    ``cause`` names the taps that arrived. The answer is the sum of the differences in minor units. The caller holds the card's
    lock (:func:`lock_cards`).
    """
    moved = 0
    first = min(days)
    wanted = set(days)
    for day in _days_from(session, card_number, first, wanted):
        if day not in wanted:
            continue
        before = _past_of_day(session, card_number, day)
        moved += _price_day(session, card_number=card_number, day=day, cause=cause, liability=liability, now=now)
        if _past_of_day(session, card_number, day) != before:
            wanted |= set(_dependent_days(session, card_number, day))
    return moved


def _days_from(session: Session, card_number: str, first: date, wanted: set[date]) -> list[date]:
    known = session.scalars(
        select(TapRow.card_day).where(TapRow.card_number == card_number, TapRow.card_day >= first).distinct()
    )
    return sorted(set(known) | wanted)


def _dependent_days(session: Session, card_number: str, day: date) -> list[date]:
    """Later days that look back on ``day``: the rest of its month and week, and the day after."""
    month_end = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    last = max(month_end, day + timedelta(days=7))
    return list(
        session.scalars(
            select(JourneyRow.card_day)
            .where(JourneyRow.card_number == card_number, JourneyRow.card_day > day, JourneyRow.card_day <= last)
            .distinct()
        )
    )


def _past_of_day(session: Session, card_number: str, day: date) -> list[tuple[datetime, str, int]]:
    rows = session.execute(
        select(JourneyRow.started_at, JourneyRow.operator_id, JourneyRow.capped_minor)
        .where(JourneyRow.card_number == card_number, JourneyRow.card_day == day, JourneyRow.state == State.COMPLETE.value)
        .order_by(JourneyRow.started_at, JourneyRow.key)
    )
    return [(row.started_at, row.operator_id, row.capped_minor) for row in rows]


def past_fares(session: Session, card_number: str, day: date) -> list[PastFare]:
    """What days before ``day`` left for caps and month tickets."""
    begin = min(day.replace(day=1), day - LOOK_BACK)
    rows = session.execute(
        select(JourneyRow.started_at, JourneyRow.operator_id, JourneyRow.capped_minor)
        .where(
            JourneyRow.card_number == card_number,
            JourneyRow.card_day >= begin,
            JourneyRow.card_day < day,
            JourneyRow.state == State.COMPLETE.value,
        )
        .order_by(JourneyRow.started_at, JourneyRow.key)
    )
    return [PastFare(at=row.started_at, operator=row.operator_id, capped_minor=row.capped_minor) for row in rows]


def rider_of(issuer: str, held: Json) -> Rider:
    """The rider that a stored credential describes."""
    return Rider(
        issuer=issuer,
        entitlements=tuple(
            Entitlement(
                code=entry["code"],
                scope_city=entry["scope_city"],
                expires_on=date.fromisoformat(entry["expires_on"]) if entry["expires_on"] else None,
            )
            for entry in held.get("held", [])
        ),
    )


def tap_of(row: TapRow) -> Tap:
    """A stored tap as the fare engine takes it."""
    return Tap(
        key=f"{row.terminal_id}/{row.boot_id}/{row.seq}",
        at=row.at,
        kind=row.kind,
        operator=row.operator_id,
        stop_id=row.stop_id,
        line=row.line_id,
        token=f"{row.device_kid.hex()}:{row.counter}" if row.device_kid else "",
        rider=rider_of(row.issuer, row.entitlements),
    )


def taps_of_day(session: Session, card_number: str, day: date) -> list[Tap]:
    """The taps of a card-day that travel: let through, and rightly; with those that an upheld claim put in place."""
    rows = session.scalars(
        select(TapRow).where(
            TapRow.card_number == card_number, TapRow.card_day == day, TapRow.decision == "accepted", TapRow.verdict == ""
        )
    )
    taps = [tap_of(row) for row in rows]
    claimed = session.scalars(select(ClaimedTap).where(ClaimedTap.card_number == card_number, ClaimedTap.card_day == day))
    offered = [
        Tap(
            key=f"{row.source}/{row.id}",
            at=row.at,
            kind=row.kind,
            operator=row.operator_id,
            stop_id=row.stop_id,
            line=row.line_id,
        )
        for row in claimed
    ]
    return habits.completed(taps, offered) if offered else taps


def _price_day(
    session: Session, *, card_number: str, day: date, cause: tuple[str, ...], liability: Liability, now: datetime
) -> int:
    taps = taps_of_day(session, card_number, day)
    tariffs = network.tariffs_of(session, {tap.operator for tap in taps}) if taps else Tariffs({})
    issuer = credentials.issuing_city(card_number)
    rider, past = Rider(issuer=issuer), past_fares(session, card_number, day)
    priced = fares.charge(taps, tariffs, rider, past)
    if priced.replays:
        aside = fraud.note(session, card_number=card_number, day=day, taps=taps, tariffs=tariffs, now=now)
        priced = fares.charge([tap for tap in taps if tap.key not in aside], tariffs, rider, past)
    sums = session.execute(
        select(FarePosting.operator_id, func.sum(FarePosting.amount_minor))
        .where(FarePosting.card_number == card_number, FarePosting.card_day == day)
        .group_by(FarePosting.operator_id)
    )
    posted = {operator: int(total) for operator, total in sums}
    owed = {operator: priced.owed_to(operator) for operator in {journey.operator for journey in priced.journeys}}
    holder = _holder(session, card_number, issuer)
    _store_journeys(session, card_number=card_number, issuer=issuer, holder=holder, day=day, priced=priced, now=now)
    moved = 0
    for difference in differences(owed=owed, posted=posted):
        moved += difference.amount_minor
        _post(
            session,
            card_number=card_number,
            issuer=issuer,
            holder=holder,
            day=day,
            difference=difference,
            priced=priced,
            cause=cause,
            liability=liability,
            now=now,
        )
    return moved


def _holder(session: Session, card_number: str, issuer: str) -> UUID | None:
    return cards.by_number(session, card_number).holder_id if issuer == city_of(session).code else None


def journey_id(card_number: str, journey: PricedJourney) -> UUID:
    """The id of a journey: the same as long as its first tap is the same."""
    return derived_id(journey.started_at, "journey", card_number, journey.key)


def _store_journeys(
    session: Session,
    *,
    card_number: str,
    issuer: str,
    holder: UUID | None,
    day: date,
    priced: Charge,
    now: datetime,
) -> None:
    session.execute(delete(JourneyRow).where(JourneyRow.card_number == card_number, JourneyRow.card_day == day))
    if not priced.journeys:
        return
    session.execute(
        insert(JourneyRow),
        [
            {
                "id": journey_id(card_number, journey),
                "key": journey.key,
                "card_number": card_number,
                "holder_id": holder,
                "issuer": issuer,
                "card_day": day,
                "operator_id": journey.operator,
                "line_id": journey.line,
                "state": journey.state.value,
                "from_stop": journey.from_stop,
                "to_stop": journey.to_stop,
                "started_at": journey.started_at,
                "ended_at": journey.ended_at,
                "km": journey.km,
                "tariff_id": journey.tariff,
                "capped_minor": journey.capped_minor,
                "charged_minor": journey.charged_minor,
                "steps": {"steps": [asdict(step) for step in journey.steps]},
                "taps": list(journey.taps),
                "priced_at": now,
            }
            for journey in priced.journeys
        ],
    )


def _post(
    session: Session,
    *,
    card_number: str,
    issuer: str,
    holder: UUID | None,
    day: date,
    difference: Difference,
    priced: Charge,
    cause: tuple[str, ...],
    liability: Liability,
    now: datetime,
) -> None:
    revision = 1 + (
        session.scalar(
            select(func.max(FarePosting.revision)).where(
                FarePosting.card_number == card_number,
                FarePosting.card_day == day,
                FarePosting.operator_id == difference.operator_id,
            )
        )
        or 0
    )
    key = (card_number, day.isoformat(), difference.operator_id, str(revision))
    posting_id = derived_id(now, "fare", *key)
    journeys = [journey for journey in priced.journeys if journey.operator == difference.operator_id]
    event_at = max(
        (journey.started_at for journey in journeys), default=datetime.combine(day, time(12), SHANGHAI).astimezone(UTC)
    )
    reference = f"card-day:{card_number}:{day.isoformat()}:{difference.operator_id}"
    metadata: Json = {"operator": difference.operator_id, "total_minor": difference.total_minor, "revision": revision}
    operator = ledger.open_account(session, chart.operator(difference.operator_id), now=now)
    if holder is None:
        means = "foreign"
        due = ledger.open_account(session, chart.due_from(issuer), now=now)
        rising = difference.amount_minor > 0
        transfer = Transfer(
            id=posting_id,
            debit=due if rising else operator,
            credit=operator if rising else due,
            amount_minor=abs(difference.amount_minor),
            code=TransferCode.FOREIGN_FARE if rising else TransferCode.FOREIGN_FARE_CORRECTION,
            event_at=event_at,
            reference=reference,
            metadata=metadata,
        )
        ledger.post_all(session, [transfer], now=now)
    elif difference.amount_minor > 0:
        means = charge_holder(
            session,
            posting_id=posting_id,
            holder_id=holder,
            creditor=chart.operator(difference.operator_id),
            amount_minor=difference.amount_minor,
            code=TransferCode.FARE,
            card_number=card_number,
            liability=liability,
            event_at=event_at,
            reference=reference,
            metadata=metadata,
            now=now,
        )
    else:
        means = refund_holder(
            session,
            posting_id=posting_id,
            holder_id=holder,
            creditor=chart.operator(difference.operator_id),
            amount_minor=-difference.amount_minor,
            code=TransferCode.FARE_CORRECTION,
            card_number=card_number,
            event_at=event_at,
            reference=reference,
            metadata=metadata,
            now=now,
        )
    session.add(
        FarePosting(
            id=posting_id,
            card_number=card_number,
            issuer=issuer,
            card_day=day,
            operator_id=difference.operator_id,
            revision=revision,
            amount_minor=difference.amount_minor,
            total_minor=difference.total_minor,
            means=means,
            liability=liability.value,
            cause=list(cause),
            posted_at=now,
        )
    )
    session.flush()
    if holder is None:
        _present(
            session,
            posting_id=posting_id,
            issuer=issuer,
            card_number=card_number,
            difference=difference,
            event_at=event_at,
            cause=cause,
            reference=reference,
            liability=liability,
            now=now,
        )


def charge_holder(
    session: Session,
    *,
    posting_id: UUID,
    holder_id: UUID,
    creditor: ledger.AccountSpec,
    amount_minor: int,
    code: TransferCode,
    card_number: str,
    liability: Liability,
    event_at: datetime,
    reference: str,
    metadata: Json,
    now: datetime,
) -> str:
    """Debit the holder's purses, the earmarked ones first; where they cannot pay, the whole amount becomes a debt.

    Answers ``purse`` or ``debt``.
    """
    credit = ledger.open_account(session, creditor, now=now)
    try:
        ledger.pay(
            session,
            payment_id=posting_id,
            holder_id=holder_id,
            payee=creditor,
            amount_minor=amount_minor,
            code=code,
            event_at=event_at,
            reference=reference,
            metadata=metadata,
            now=now,
        )
    except ledger.InsufficientFunds:
        pass
    else:
        return "purse"
    debt_id = derived_id(now, "fare-debt", str(posting_id))
    owed = Transfer(
        id=debt_id,
        debit=ledger.open_account(session, chart.receivable(holder_id), now=now),
        credit=credit,
        amount_minor=amount_minor,
        code=TransferCode.FARE_DEBT,
        event_at=event_at,
        reference=reference,
        metadata=metadata,
    )
    ledger.post_all(session, [owed], now=now)
    session.add(
        Debt(
            id=debt_id,
            holder_id=holder_id,
            card_number=card_number,
            creditor=creditor.key,
            liability=liability.value,
            amount_minor=amount_minor,
            left_minor=amount_minor,
            opened_at=now,
            posting_id=posting_id,
        )
    )
    session.flush()
    return "debt"


def refund_holder(
    session: Session,
    *,
    posting_id: UUID,
    holder_id: UUID,
    creditor: ledger.AccountSpec,
    amount_minor: int,
    code: TransferCode,
    card_number: str,
    event_at: datetime,
    reference: str,
    metadata: Json,
    now: datetime,
) -> str:
    """Give an amount back: first against what the holder still owes this creditor, the rest to the purses that had paid."""
    debit = ledger.open_account(session, creditor, now=now)
    receivable = ledger.open_account(session, chart.receivable(holder_id), now=now)
    left, transfers = amount_minor, []
    for debt in _open_debts(session, holder_id, creditor=creditor.key, card_number=card_number):
        part = min(left, debt.left_minor)
        if part:
            transfers.append((derived_id(now, "debt-correction", str(posting_id), str(debt.id)), receivable, part))
            _reduce(debt, part, now)
            left -= part
    means = "purse" if left else "debt"
    if left:
        ledger.give_back(
            session,
            refund_id=posting_id,
            holder_id=holder_id,
            payee=creditor,
            amount_minor=left,
            code=code,
            event_at=event_at,
            reference=reference,
            metadata=metadata,
            now=now,
        )
    ledger.post_all(
        session,
        [
            Transfer(
                id=transfer_id,
                debit=debit,
                credit=credit,
                amount_minor=part,
                code=code,
                event_at=event_at,
                reference=reference,
                metadata=metadata,
            )
            for transfer_id, credit, part in transfers
        ],
        now=now,
    )
    return means


def _open_debts(
    session: Session, holder_id: UUID, *, creditor: str | None = None, card_number: str | None = None
) -> list[Debt]:
    query = select(Debt).where(Debt.holder_id == holder_id, Debt.left_minor > 0).order_by(Debt.id).with_for_update()
    if creditor is not None:
        query = query.where(Debt.creditor == creditor)
    if card_number is not None:
        query = query.where(Debt.card_number == card_number)
    return list(session.scalars(query))


def _reduce(debt: Debt, part: int, now: datetime) -> None:
    debt.left_minor -= part
    if debt.left_minor == 0:
        debt.closed_at = now


def recover_debts(session: Session, *, holder_id: UUID, now: datetime) -> int:
    """Pay open debts from the purse as far as it reaches, the oldest first. Answers the minor units recovered."""
    debts = _open_debts(session, holder_id)
    if not debts:
        return 0
    purse = ledger.open_account(session, chart.purse(holder_id), now=now)
    receivable = ledger.account_id(session, chart.receivable(holder_id))
    available = ledger.balance(session, purse).available_minor
    recovered = 0
    for debt in debts:
        part = min(debt.left_minor, available - recovered)
        if part <= 0:
            break
        transfer = Transfer(
            id=derived_id(now, "debt-recovery", str(debt.id), str(debt.left_minor)),
            debit=purse,
            credit=receivable,
            amount_minor=part,
            code=TransferCode.DEBT_RECOVERY,
            event_at=now,
            reference=f"debt:{debt.id}",
        )
        ledger.post_all(session, [transfer], now=now)
        _reduce(debt, part, now)
        recovered += part
    session.flush()
    return recovered


def on_payment_settled(session: Session, payload: Json) -> None:
    """The handler of ``payment.settled``: a top-up first pays what its holder owes for rides."""
    if payload["purpose"] == "top-up":
        recover_debts(session, holder_id=UUID(payload["person_id"]), now=clock.now())


def indebted_holders(session: Session, *, limit: int = 500) -> list[UUID]:
    """Holders with an open debt, for the recovery job."""
    return list(
        session.scalars(select(Debt.holder_id).where(Debt.left_minor > 0).distinct().order_by(Debt.holder_id).limit(limit))
    )


def _present(
    session: Session,
    *,
    posting_id: UUID,
    issuer: str,
    card_number: str,
    difference: Difference,
    event_at: datetime,
    cause: tuple[str, ...],
    reference: str,
    liability: Liability,
    now: datetime,
) -> None:
    """Tell the clearing, and claim it from the issuer."""
    terminal_id, counter = _evidence(session, cause)
    claim: Json = {
        "id": str(posting_id),
        "issuer": issuer,
        "acquirer": city_of(session).code,
        "amount_minor": difference.amount_minor,
        "kind": "transit",
        "card_number": card_number,
        "reference": reference,
        "terminal_id": terminal_id,
        "counter": counter,
        "event_at": event_at.isoformat(),
        "accepted_at": now.isoformat(),
        "liability": liability.value,
        "operator": difference.operator_id,
    }
    session.add(PresentmentOut(id=posting_id, fare_posting_id=posting_id, issuer=issuer, claim=claim, written_at=now))
    session.flush()
    outbox.emit(session, "charge.foreign", claim, at=now)
    outbox.emit(session, "presentment.written", {"id": str(posting_id)}, at=now)


def _evidence(session: Session, cause: tuple[str, ...]) -> tuple[str, int]:
    """The terminal and the credential's counter of the newest tap that caused a charge."""
    for key in reversed(cause):
        terminal, _, rest = key.partition("/")
        boot, _, seq = rest.rpartition("/")
        if terminal in ("claim", "habit") or not seq.isdigit():
            continue
        counter = session.scalar(
            select(TapRow.counter).where(TapRow.terminal_id == UUID(terminal), TapRow.boot_id == boot, TapRow.seq == int(seq))
        )
        if counter is not None:
            return terminal, counter
    return "", 0
