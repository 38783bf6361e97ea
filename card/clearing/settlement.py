"""The hub's cycles: positions that both sides reported alike are netted, checked against caps, instructed and settled."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit, outbox
from app.kernel.db import Json
from app.kernel.errors import Conflict, FourEyes, IllegalMove, msg
from app.kernel.settings import HUB_CODE
from card import partners
from card.clearing import netting, postings, rules
from card.clearing.models import CycleRow, InstructionRow, MemberRow, PositionRow
from card.clearing.rules import (
    BadClearingFile,
    CycleState,
    FundingMissing,
    InstructionDisagrees,
    NoSuchCycle,
    NothingToNet,
    WrongParty,
)

TYPE: Final = "settlement-instruction+jwt"
DEFAULT_CAP_MINOR: Final = 100_000_000  # one million yuan until the hub sets another


class PositionChanged(Conflict):
    """A city reported the same item before with another amount."""

    code = "position-changed"
    sentence = msg("This position was reported before with another amount.")


def position_of(session: Session, payload: Json) -> Json:
    """Our report of one item, for the hub."""
    own = partners.own_city(session).code
    row = session.get_one(PositionRow, (own, payload["issuer"], payload["acquirer"], payload["reference"]))
    return {
        "issuer": row.issuer,
        "acquirer": row.acquirer,
        "reference": row.reference,
        "window": row.window.isoformat(),
        "count": row.count,
        "amount_minor": row.amount_minor,
    }


def receive_position(session: Session, *, sender: str, body: Json, now: datetime) -> None:
    """The hub notes what a city reports. A repeat is quiet; another amount is :class:`PositionChanged`."""
    if partners.own_city(session).code != HUB_CODE:
        raise partners.NotTheHub
    try:
        values = {
            "reporter": sender,
            "issuer": str(body["issuer"]),
            "acquirer": str(body["acquirer"]),
            "reference": str(body["reference"]),
            "window": date.fromisoformat(str(body["window"])),
            "count": int(body["count"]),
            "amount_minor": int(body["amount_minor"]),
        }
    except (KeyError, ValueError, TypeError) as error:
        raise BadClearingFile(f"not a position: {error}") from error
    if sender not in (values["issuer"], values["acquirer"]):
        raise WrongParty(sender)
    new = session.execute(
        insert(PositionRow).values(**values, at=now).on_conflict_do_nothing().returning(PositionRow.reference)
    ).first()
    if new is None:
        key = (sender, values["issuer"], values["acquirer"], values["reference"])
        known = session.get_one(PositionRow, key)
        if (known.amount_minor, known.count) != (values["amount_minor"], values["count"]):
            raise PositionChanged(f"{key}")


def _agreed(session: Session) -> list[PositionRow]:
    """The items of no cycle that both sides reported alike (the issuer's report stands for both)."""
    theirs = select(PositionRow).subquery()
    return list(
        session.scalars(
            select(PositionRow)
            .join(
                theirs,
                (theirs.c.reporter == PositionRow.acquirer)
                & (theirs.c.issuer == PositionRow.issuer)
                & (theirs.c.acquirer == PositionRow.acquirer)
                & (theirs.c.reference == PositionRow.reference)
                & (theirs.c.amount_minor == PositionRow.amount_minor)
                & (theirs.c.count == PositionRow.count),
            )
            .where(PositionRow.reporter == PositionRow.issuer, PositionRow.cycle.is_(None))
            .order_by(PositionRow.issuer, PositionRow.acquirer, PositionRow.reference)
        )
    )


def set_cap(session: Session, *, city: str, cap_minor: int, by: str, now: datetime) -> None:
    """Set a city's net debit cap, fen."""
    partners.city(session, city)
    row = _member(session, city)
    row.cap_minor = cap_minor
    audit.record(session, actor=by, action="cap.set", subject=f"city:{city}", at=now, details={"cap_minor": cap_minor})


def fund(session: Session, *, city: str, amount_minor: int, by: str, now: datetime) -> None:
    """Note that a city funded ``amount_minor`` fen beyond its cap."""
    row = _member(session, city)
    row.funded_minor += amount_minor
    audit.record(session, actor=by, action="cap.fund", subject=f"city:{city}", at=now, details={"amount_minor": amount_minor})


def _member(session: Session, city: str) -> MemberRow:
    row = session.get(MemberRow, city, with_for_update=True)
    if row is None:
        row = MemberRow(city=city, cap_minor=DEFAULT_CAP_MINOR, funded_minor=0)
        session.add(row)
        session.flush()
    return row


def prepare_cycle(session: Session, *, by: str, now: datetime) -> int:
    """Net everything both sides agree on into a new cycle; a second person approves it. Raises :class:`NothingToNet`."""
    if partners.own_city(session).code != HUB_CODE:
        raise partners.NotTheHub
    session.execute(select(func.pg_advisory_xact_lock(320_000_006)))
    items = _agreed(session)
    if not any(item.amount_minor or item.count for item in items):
        raise NothingToNet
    number = (session.scalar(select(func.max(CycleRow.number))) or 0) + 1
    pairs: dict[netting.Pair, int] = {}
    references: dict[netting.Pair, list[str]] = {}
    for item in items:
        pair = (item.issuer, item.acquirer)
        pairs[pair] = pairs.get(pair, 0) + item.amount_minor
        references.setdefault(pair, []).append(item.reference)
    result = netting.net(pairs)
    figures: Json = {
        "pairs": [
            {
                "issuer": issuer,
                "acquirer": acquirer,
                "amount_minor": amount,
                "fee_minor": result.fees[issuer, acquirer],
                "references": references[issuer, acquirer],
            }
            for (issuer, acquirer), amount in result.pairs.items()
        ],
        "bilateral": [
            {"payer": payer, "receiver": receiver, "amount_minor": amount}
            for (payer, receiver), amount in result.bilateral.items()
        ],
        "multilateral": dict(result.multilateral),
        "finals": dict(result.finals),
        "clearing_minor": result.clearing_minor,
    }
    session.add(
        CycleRow(
            number=number,
            state=CycleState.NETTED,
            figures=figures,
            prepared_by=by,
            prepared_at=now,
            approved_by=None,
            approved_at=None,
            settled_by=None,
            settled_at=None,
        )
    )
    _claim_items(session, figures["pairs"], cycle=number)
    audit.record(session, actor=by, action="cycle.prepare", subject=f"cycle:{number}", at=now, details=figures)
    return number


def _claim_items(session: Session, pairs: Sequence[Json], *, cycle: int | None) -> None:
    for pair in pairs:
        session.execute(
            update(PositionRow)
            .where(
                PositionRow.issuer == pair["issuer"],
                PositionRow.acquirer == pair["acquirer"],
                PositionRow.reference.in_(pair["references"]),
            )
            .values(cycle=cycle)
            .execution_options(synchronize_session=False)
        )


def calls_of(session: Session, cycle: CycleRow) -> dict[str, int]:
    """What each city over its cap has still to fund for this cycle, fen."""
    finals = cycle.figures["finals"]
    limits = dict.fromkeys(finals, DEFAULT_CAP_MINOR)
    for row in session.scalars(select(MemberRow).where(MemberRow.city.in_(finals))):
        limits[row.city] = row.cap_minor + row.funded_minor
    return netting.funding_calls(finals, limits=limits)


def approve_cycle(session: Session, *, number: int, by: str, now: datetime) -> CycleState:
    """A second person approves: within the caps it is instructed, over a cap it waits for funding. Never unwound.

    Raises ``FourEyes``, ``IllegalMove``, :class:`NoSuchCycle`; :class:`FundingMissing` where a call is still not met.
    """
    cycle = _cycle(session, number)
    if cycle.prepared_by == by:
        raise FourEyes
    calls = calls_of(session, cycle)
    if calls:
        if cycle.state == CycleState.FUNDING_CALL:
            raise FundingMissing(str(calls))
        cycle.state = rules.cycle_move(CycleState(cycle.state), CycleState.FUNDING_CALL)
        audit.record(session, actor=by, action="cycle.call", subject=f"cycle:{number}", at=now, details=dict(calls))
        return CycleState.FUNDING_CALL
    cycle.state = rules.cycle_move(CycleState(cycle.state), CycleState.INSTRUCTED)
    cycle.approved_by, cycle.approved_at = by, now
    finals: dict[str, int] = cycle.figures["finals"]
    for city, final_minor in sorted(finals.items()):
        own_pairs = [pair for pair in cycle.figures["pairs"] if city in (pair["issuer"], pair["acquirer"])]
        fee_minor = sum(pair["fee_minor"] for pair in own_pairs if pair["acquirer"] == city)
        document = {
            "scheme": rules.SCHEME,
            "cycle": number,
            "city": city,
            "pairs": own_pairs,
            "fee_minor": fee_minor,
            "net_minor": final_minor,
            "at": now.isoformat(),
        }
        session.add(
            InstructionRow(
                cycle=number,
                city=city,
                net_minor=final_minor,
                fee_minor=fee_minor,
                document=partners.sign_document(session, document, typ=TYPE),
                state="sent",
                sent_at=now,
                booked_at=None,
                settled_at=None,
            )
        )
        outbox.emit(session, "cycle.instructed", {"cycle": number, "city": city}, at=now)
    postings.book_hub(
        session,
        finals=finals,
        clearing_minor=cycle.figures["clearing_minor"],
        cycle=number,
        paid=False,
        at=now,
        now=now,
    )
    audit.record(session, actor=by, action="cycle.instruct", subject=f"cycle:{number}", at=now, details=finals)
    return CycleState.INSTRUCTED


def suspend_cycle(session: Session, *, number: int, by: str, now: datetime) -> None:
    """Set a cycle that is not instructed aside; its items go into the next one."""
    cycle = _cycle(session, number)
    cycle.state = rules.cycle_move(CycleState(cycle.state), CycleState.SUSPENDED)
    _claim_items(session, cycle.figures["pairs"], cycle=None)
    audit.record(session, actor=by, action="cycle.suspend", subject=f"cycle:{number}", at=now)


def _cycle(session: Session, number: int) -> CycleRow:
    row = session.get(CycleRow, number, with_for_update=True)
    if row is None:
        raise NoSuchCycle(str(number))
    return row


def settle_cycle(session: Session, *, number: int, by: str, now: datetime) -> None:
    """The settlement bank confirmed every payment: tell the cities and book it. Every city must have booked its instruction."""
    cycle = _cycle(session, number)
    rows = session.scalars(select(InstructionRow).where(InstructionRow.cycle == number).with_for_update()).all()
    if any(row.state == "sent" for row in rows):
        raise IllegalMove(state="sent")
    cycle.state = rules.cycle_move(CycleState(cycle.state), CycleState.SETTLED)
    cycle.settled_by, cycle.settled_at = by, now
    postings.book_hub(session, finals=cycle.figures["finals"], clearing_minor=0, cycle=number, paid=True, at=now, now=now)
    for row in rows:
        outbox.emit(session, "cycle.settled", {"cycle": number, "city": row.city}, at=now)
    audit.record(session, actor=by, action="cycle.settle", subject=f"cycle:{number}", at=now)


def instruction_of(session: Session, payload: Json) -> Json:
    """The signed instruction of one city, for its courier."""
    return {"document": session.get_one(InstructionRow, (payload["cycle"], payload["city"])).document}


def settlement_of(session: Session, payload: Json) -> Json:
    """The confirmation of one city's payment, for its courier."""
    cycle = session.get_one(CycleRow, payload["cycle"])
    assert cycle.settled_at is not None
    return {"cycle": cycle.number, "settled_at": cycle.settled_at.isoformat()}


def note_booked(session: Session, *, cycle: int, city: str, now: datetime) -> None:
    """The hub notes that a city booked its instruction."""
    row = session.get_one(InstructionRow, (cycle, city), with_for_update=True)
    if row.state == "sent":
        row.state, row.booked_at = "booked", now


def note_settled(session: Session, *, cycle: int, city: str, now: datetime) -> None:
    """The hub notes that a city booked the bank's line."""
    row = session.get_one(InstructionRow, (cycle, city), with_for_update=True)
    row.state, row.settled_at = "settled", now


def receive_instruction(session: Session, *, sender: str, token: str, now: datetime) -> int:
    """A city holds the hub's instruction to its own reports and books it; answers its net, fen. A repeat is quiet.

    Raises :class:`WrongParty`, :class:`InstructionDisagrees`, ``BadSignature``.
    """
    if sender != HUB_CODE:
        raise WrongParty(sender)
    said = partners.verify_document(session, token, city=HUB_CODE, typ=TYPE)
    own = partners.own_city(session).code
    if said["city"] != own:
        raise WrongParty(str(said["city"]))
    known = session.get(InstructionRow, (int(said["cycle"]), own), with_for_update=True)
    if known is not None:
        if known.document != token:
            raise InstructionDisagrees("another instruction came for this cycle")
        return known.net_minor
    net_minor = -int(said["fee_minor"])
    pairs: list[tuple[str, str, int]] = []
    for pair in said["pairs"]:
        issuer, acquirer, amount_minor = str(pair["issuer"]), str(pair["acquirer"]), int(pair["amount_minor"])
        ours = session.scalars(
            select(PositionRow).where(
                PositionRow.reporter == own,
                PositionRow.issuer == issuer,
                PositionRow.acquirer == acquirer,
                PositionRow.reference.in_(pair["references"]),
                PositionRow.cycle.is_(None),
            )
        ).all()
        if len(ours) != len(set(pair["references"])) or sum(row.amount_minor for row in ours) != amount_minor:
            raise InstructionDisagrees(f"{issuer} to {acquirer}")
        net_minor += amount_minor if own == acquirer else -amount_minor
        pairs.append((issuer, acquirer, amount_minor))
    expected_fee = sum(netting.fee(amount) for issuer, acquirer, amount in pairs if acquirer == own)
    if (net_minor, expected_fee) != (said["net_minor"], said["fee_minor"]):
        raise InstructionDisagrees(f"we reckon {net_minor} with a fee of {expected_fee}")
    _claim_items(session, said["pairs"], cycle=int(said["cycle"]))
    at = datetime.fromisoformat(said["at"])
    postings.book_instruction(session, own=own, pairs=pairs, fee_minor=expected_fee, cycle=int(said["cycle"]), at=at, now=now)
    session.add(
        InstructionRow(
            cycle=int(said["cycle"]),
            city=own,
            net_minor=net_minor,
            fee_minor=expected_fee,
            document=token,
            state="booked",
            sent_at=at,
            booked_at=now,
            settled_at=None,
        )
    )
    return net_minor


def receive_settlement(session: Session, *, sender: str, body: Json, now: datetime) -> None:
    """A city books the bank's line of a cycle that it had booked. A repeat is quiet."""
    if sender != HUB_CODE:
        raise WrongParty(sender)
    row = session.get(InstructionRow, (int(body["cycle"]), partners.own_city(session).code), with_for_update=True)
    if row is None:
        raise NoSuchCycle(str(body["cycle"]))
    if row.state == "settled":
        return
    at = datetime.fromisoformat(str(body["settled_at"]))
    postings.book_bank(session, net_minor=row.net_minor, cycle=row.cycle, at=at, now=now)
    row.state, row.settled_at = "settled", at
