"""What is known of coverage, catalogue and claims. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, selectinload

from app.kernel import money
from app.kernel.city import city_of
from app.kernel.errors import NotFound, Refusal, msg
from app.kernel.explain import steps_from_json
from card import cards, ledger
from card.health import rules
from card.health.models import Accumulator, CatalogueItem, Claim, ClaimLine, Coverage, Filing, Hospital, Settlement
from card.health.rules import (
    ClaimRequest,
    ClaimState,
    Eligibility,
    FilingKind,
    FilingState,
    ItemClass,
    Level,
    LineFacts,
    Payer,
    Scheme,
    Split,
    Status,
    Year,
)


class NotCovered(Refusal):
    """Nobody insured here on that day."""

    code = "not-covered"
    sentence = msg("This person has no health coverage in the insured city on that day.")
    status = 409


class NoSuchHospital(NotFound):
    """No hospital with this id in the city."""

    code = "no-such-hospital"
    sentence = msg("There is no such hospital in this city.")


class NoSuchClaim(NotFound):
    """No claim with this id, or not the caller's to see."""

    code = "no-such-claim"
    sentence = msg("There is no such claim.")


class NoSuchItem(NotFound):
    """The catalogue has no such item on that day."""

    code = "no-such-catalogue-item"
    sentence = msg("The catalogue has no item “%(item)s” on that day.")


@dataclass(frozen=True, kw_only=True)
class HospitalView:
    """A hospital or pharmacy; names by language."""

    id: str
    name: dict[str, str]
    level: Level


@dataclass(frozen=True, kw_only=True)
class ItemView:
    """A catalogue item on a day. Fen a unit."""

    code: str
    name: dict[str, str]
    unit: dict[str, str]
    item_class: ItemClass
    first_self_pay: Decimal
    price_minor: int
    limit_minor: int | None


@dataclass(frozen=True, kw_only=True)
class FilingView:
    """A filing for treatment elsewhere."""

    id: UUID
    holder_id: UUID
    kind: FilingKind
    region: str
    reason: str
    valid_from: date
    valid_to: date | None
    state: FilingState
    filed_by: str
    filed_at: datetime
    decided_by: str | None


@dataclass(frozen=True, kw_only=True)
class CoverageView:
    """Somebody's coverage here."""

    id: UUID
    scheme: Scheme
    status: Status
    valid_from: date
    valid_to: date | None
    entitled: tuple[Payer, ...]


@dataclass(frozen=True, kw_only=True)
class YearView:
    """What a person's insured year has used up. Fen."""

    year: int
    admissions: int
    pool_used_minor: int
    self_pay_minor: int
    catastrophic_minor: int


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """A claim as the hospital sees it."""

    id: UUID
    hospital: HospitalView
    card_number: str
    insured_region: str
    treating_region: str
    admitted_on: date
    state: ClaimState
    lines: tuple[LineFacts, ...]
    split: Split | None
    registered_at: datetime
    pre_settled_at: datetime | None
    accepted_at: datetime | None
    settled_at: datetime | None
    reversed_at: datetime | None
    reversal_reason: str | None

    @property
    def away(self) -> bool:
        """Whether the person is insured elsewhere."""
        return self.insured_region != self.treating_region

    @property
    def waiting(self) -> bool:
        """Whether settlement was asked for and the answer has not come yet."""
        return self.accepted_at is not None and self.settled_at is None

    @property
    def total_minor(self) -> int:
        """The bill, in fen."""
        return money.half_up_minor(sum((line.amount for line in self.lines), Decimal(0)))

    def request(self, accepted_at: datetime) -> ClaimRequest:
        """What is put to the insured place."""
        return ClaimRequest(
            id=self.id,
            card_number=self.card_number,
            insured_region=self.insured_region,
            treating_region=self.treating_region,
            hospital_id=self.hospital.id,
            hospital_name=self.hospital.name,
            level=self.hospital.level,
            admitted_on=self.admitted_on,
            accepted_at=self.accepted_at or accepted_at,
            lines=self.lines,
        )


@dataclass(frozen=True, kw_only=True)
class SettlementView:
    """A settled claim as the insured person sees it."""

    id: UUID
    holder_id: UUID
    card_number: str
    treating_region: str
    hospital_id: str
    hospital_name: dict[str, str]
    admitted_on: date
    level: Level
    reversed: bool
    reversal_reason: str | None
    lines: tuple[LineFacts, ...]
    split: Split
    accepted_at: datetime
    settled_at: datetime
    insured_region: str

    @property
    def request(self) -> ClaimRequest:
        """The claim as it came."""
        return ClaimRequest(
            id=self.id,
            card_number=self.card_number,
            insured_region=self.insured_region,
            treating_region=self.treating_region,
            hospital_id=self.hospital_id,
            hospital_name=self.hospital_name,
            level=self.level,
            admitted_on=self.admitted_on,
            accepted_at=self.accepted_at,
            lines=self.lines,
        )


# --- the place of treatment ------------------------------------------------------------------------------------------------


def _hospital(row: Hospital) -> HospitalView:
    return HospitalView(id=row.id, name=row.name, level=Level(row.level))


def hospital(session: Session, hospital_id: str) -> HospitalView:
    """One hospital; raises :class:`NoSuchHospital`."""
    row = session.get(Hospital, hospital_id)
    if row is None:
        raise NoSuchHospital(hospital_id)
    return _hospital(row)


def _on(day: date) -> tuple[object, object]:
    return CatalogueItem.valid_from <= day, or_(CatalogueItem.valid_to.is_(None), CatalogueItem.valid_to >= day)


def _item(row: CatalogueItem) -> ItemView:
    return ItemView(
        code=row.code,
        name=row.name,
        unit=row.unit,
        item_class=ItemClass(row.item_class),
        first_self_pay=row.first_self_pay,
        price_minor=row.price_minor,
        limit_minor=row.limit_minor,
    )


def catalogue(session: Session, *, on: date) -> list[ItemView]:
    """The catalogue of this city on a day, by code."""
    rows = session.scalars(
        select(CatalogueItem)
        .where(*_on(on))  # type: ignore[arg-type]  # two column expressions
        .order_by(CatalogueItem.code, CatalogueItem.valid_from.desc())
        .ext(distinct_on(CatalogueItem.code))
    )
    return [_item(row) for row in rows]


def catalogue_item(session: Session, code: str, *, on: date) -> ItemView:
    """One item of the catalogue on a day; raises :class:`NoSuchItem`."""
    row = session.scalars(
        select(CatalogueItem)
        .where(CatalogueItem.code == code, *_on(on))  # type: ignore[arg-type]
        .order_by(CatalogueItem.valid_from.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise NoSuchItem(item=code)
    return _item(row)


def _line(row: ClaimLine) -> LineFacts:
    return LineFacts(
        number=row.number,
        code=row.code,
        name=row.name,
        item_class=ItemClass(row.item_class),
        amount=row.amount,
        own=row.own,
        over=row.over,
        pre=row.pre,
        scope=row.scope,
        steps=steps_from_json(row.steps),
    )


def _claim(row: Claim) -> ClaimView:
    return ClaimView(
        id=row.id,
        hospital=_hospital(row.hospital),
        card_number=row.card_number,
        insured_region=row.insured_region,
        treating_region=row.treating_region,
        admitted_on=row.admitted_on,
        state=ClaimState(row.state),
        lines=tuple(_line(line) for line in row.lines),
        split=None if row.split is None else rules.split_from_json(row.split),
        registered_at=row.registered_at,
        pre_settled_at=row.pre_settled_at,
        accepted_at=row.accepted_at,
        settled_at=row.settled_at,
        reversed_at=row.reversed_at,
        reversal_reason=row.reversal_reason,
    )


def claim(session: Session, claim_id: UUID, *, hospital_id: str | None = None) -> ClaimView:
    """One claim, of ``hospital_id`` only where given; raises :class:`NoSuchClaim`."""
    row = session.scalars(
        select(Claim)
        .where(Claim.id == claim_id)
        .options(selectinload(Claim.lines), selectinload(Claim.hospital))
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None or (hospital_id is not None and row.hospital_id != hospital_id):
        raise NoSuchClaim(str(claim_id))
    return _claim(row)


def claims(session: Session, *, hospital_id: str, limit: int = 50) -> list[ClaimView]:
    """The newest claims of a hospital."""
    rows = session.scalars(
        select(Claim)
        .where(Claim.hospital_id == hospital_id)
        .options(selectinload(Claim.lines), selectinload(Claim.hospital))
        .order_by(Claim.id.desc())
        .limit(limit)
    )
    return [_claim(row) for row in rows]


def unanswered(session: Session, *, limit: int = 50) -> list[UUID]:
    """Claims whose settlement was asked for and whose answer is not known here."""
    return list(
        session.scalars(
            select(Claim.id)
            .where(Claim.accepted_at.is_not(None), Claim.settled_at.is_(None))
            .order_by(Claim.accepted_at, Claim.id)
            .limit(limit)
        )
    )


# --- the insured place -----------------------------------------------------------------------------------------------------


def holder_of_card(session: Session, card_number: str) -> UUID:
    """Who holds the card, whatever its state; raises ``UnknownCard`` where there is no such card here."""
    return cards.by_number(session, card_number).holder_id


def require_active(session: Session, card_number: str) -> None:
    """A bill is split only for a card that its holder may use; raises ``CardNotActive``, ``UnknownCard``."""
    card = cards.by_number(session, card_number)
    if card.status is not cards.Status.ACTIVE:
        raise cards.CardNotActive(state=card.status.value)


def _coverage_row(session: Session, holder_id: UUID, *, on: date) -> Coverage | None:
    return session.scalars(
        select(Coverage)
        .where(
            Coverage.holder_id == holder_id,
            Coverage.valid_from <= on,
            or_(Coverage.valid_to.is_(None), Coverage.valid_to >= on),
        )
        .order_by(Coverage.valid_from.desc(), Coverage.id)
        .limit(1)
    ).one_or_none()


def coverage(session: Session, holder_id: UUID, *, on: date) -> CoverageView | None:
    """Somebody's coverage here on a day, if any."""
    row = _coverage_row(session, holder_id, on=on)
    if row is None:
        return None
    return CoverageView(
        id=row.id,
        scheme=Scheme(row.scheme),
        status=Status(row.status),
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        entitled=tuple(Payer(name) for name in row.entitled),
    )


def _filing(row: Filing) -> FilingView:
    return FilingView(
        id=row.id,
        holder_id=row.holder_id,
        kind=FilingKind(row.kind),
        region=row.region,
        reason=row.reason,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        state=FilingState(row.state),
        filed_by=row.filed_by,
        filed_at=row.filed_at,
        decided_by=row.decided_by,
    )


def active_filing(session: Session, holder_id: UUID, *, region: str, on: date) -> FilingView | None:
    """The filing that covers treatment in ``region`` on a day, if any."""
    row = session.scalars(
        select(Filing)
        .where(
            Filing.holder_id == holder_id,
            Filing.region == region,
            Filing.state == FilingState.ACTIVE,
            Filing.valid_from <= on,
            or_(Filing.valid_to.is_(None), Filing.valid_to >= on),
        )
        .order_by(Filing.valid_from.desc(), Filing.id)
        .limit(1)
    ).one_or_none()
    return None if row is None else _filing(row)


def filings_of(session: Session, holder_id: UUID) -> list[FilingView]:
    """All filings of a person, newest first."""
    rows = session.scalars(
        select(Filing).where(Filing.holder_id == holder_id).order_by(Filing.valid_from.desc(), Filing.id.desc())
    )
    return [_filing(row) for row in rows]


def filings(session: Session, *, states: Sequence[FilingState], limit: int = 100) -> list[FilingView]:
    """Filings in any of ``states``, oldest first."""
    rows = session.scalars(
        select(Filing).where(Filing.state.in_([state.value for state in states])).order_by(Filing.id).limit(limit)
    )
    return [_filing(row) for row in rows]


def filing(session: Session, filing_id: UUID) -> FilingView:
    """One filing; raises ``NotFound``."""
    row = session.get(Filing, filing_id)
    if row is None:
        raise NotFound(str(filing_id))
    return _filing(row)


def year_of(session: Session, holder_id: UUID, year: int) -> YearView:
    """What a person's insured year has used up; nothing where it has not begun."""
    row = session.get(Accumulator, (holder_id, year))
    return YearView(
        year=year,
        admissions=0 if row is None else row.admissions,
        pool_used_minor=0 if row is None else row.pool_used_minor,
        self_pay_minor=0 if row is None else row.self_pay_minor,
        catastrophic_minor=0 if row is None else row.catastrophic_minor,
    )


def account_minor(session: Session, spec: ledger.AccountSpec) -> int:
    """What an account may spend, in fen; nothing where it was never opened."""
    try:
        return ledger.balance(session, ledger.account_id(session, spec)).available_minor
    except ledger.UnknownAccount:
        return 0


def eligibility(session: Session, *, card_number: str, treating_region: str, on: date) -> Eligibility:
    """Whether and on what terms the card's holder is covered for treatment in ``treating_region`` on a day."""
    holder_id = holder_of_card(session, card_number)
    require_active(session, card_number)
    region = city_of(session).code
    found = coverage(session, holder_id, on=on)
    filed = active_filing(session, holder_id, region=treating_region, on=on)
    used = year_of(session, holder_id, on.year)
    ceiling = None if found is None else rules.policy_on(region, on).schemes[found.scheme].ceiling
    return Eligibility(
        in_force=found is not None,
        scheme=None if found is None else found.scheme,
        status=None if found is None else found.status,
        filing=None if filed is None else filed.kind,
        filing_needed=treating_region != region,
        pool_ceiling_minor=None if ceiling is None else money.half_up_minor(ceiling.value),
        pool_used_minor=used.pool_used_minor,
        self_pay_minor=used.self_pay_minor,
        own_account_minor=account_minor(session, ledger.chart.medical(holder_id)),
        family_account_minor=account_minor(session, ledger.chart.family(holder_id)),
    )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything but the bill that a split was computed from; kept with it, so that it can be computed again."""

    region: str
    scheme: Scheme
    status: Status
    level: Level
    filing: FilingKind | None
    away: bool
    entitled: frozenset[Payer]
    year: YearView
    own_account_minor: int
    family_account_minor: int

    def split(self, lines: Sequence[LineFacts], *, on: date) -> Split:
        """The split of ``lines`` under the policy of the day ``on``."""
        terms = rules.terms_for(
            rules.policy_on(self.region, on),
            scheme=self.scheme,
            status=self.status,
            level=self.level,
            year=Year(
                admissions=self.year.admissions,
                pool_used=money.major(self.year.pool_used_minor),
                self_pay_in_scope=money.major(self.year.self_pay_minor),
            ),
            away=self.away,
            filing=self.filing,
            entitled=self.entitled,
        )
        return rules.split_bill(
            lines, terms, own_account_minor=self.own_account_minor, family_account_minor=self.family_account_minor
        )


def inputs_for(session: Session, request: ClaimRequest, holder_id: UUID) -> Inputs:
    """What the insured place knows of the person for this claim; raises :class:`NotCovered`, ``CardNotActive``."""
    require_active(session, request.card_number)
    found = coverage(session, holder_id, on=request.admitted_on)
    if found is None:
        raise NotCovered
    filed = active_filing(session, holder_id, region=request.treating_region, on=request.admitted_on)
    region = city_of(session).code
    return Inputs(
        region=region,
        scheme=found.scheme,
        status=found.status,
        level=request.level,
        filing=None if filed is None else filed.kind,
        away=request.treating_region != region,
        entitled=frozenset(found.entitled),
        year=year_of(session, holder_id, request.admitted_on.year),
        own_account_minor=account_minor(session, ledger.chart.medical(holder_id)),
        family_account_minor=account_minor(session, ledger.chart.family(holder_id)),
    )


def _settlement(row: Settlement, region: str) -> SettlementView:
    return SettlementView(
        id=row.id,
        holder_id=row.holder_id,
        card_number=row.card_number,
        treating_region=row.treating_region,
        hospital_id=row.hospital_id,
        hospital_name=row.hospital_name,
        admitted_on=row.admitted_on,
        level=Level(row.inputs["level"]),
        reversed=row.reversed_at is not None,
        reversal_reason=row.reversal_reason,
        lines=rules.facts_from_json(row.facts),
        split=rules.split_from_json(row.split),
        accepted_at=row.accepted_at,
        settled_at=row.settled_at,
        insured_region=region,
    )


def settlements_of(session: Session, holder_id: UUID, *, limit: int = 50) -> list[SettlementView]:
    """A person's settled claims, newest first."""
    rows = session.scalars(
        select(Settlement)
        .where(Settlement.holder_id == holder_id)
        .order_by(Settlement.settled_at.desc(), Settlement.id.desc())
        .limit(limit)
    )
    region = city_of(session).code
    return [_settlement(row, region) for row in rows]


def settlement(session: Session, settlement_id: UUID, *, holder_id: UUID | None = None) -> SettlementView:
    """One settled claim, of ``holder_id`` only where given; raises :class:`NoSuchClaim`."""
    row = session.get(Settlement, settlement_id)
    if row is None or (holder_id is not None and row.holder_id != holder_id):
        raise NoSuchClaim(str(settlement_id))
    return _settlement(row, city_of(session).code)


def recompute(session: Session, settlement_id: UUID) -> Split:
    """Compute a settled claim again from what was kept with it, under the policy of its day."""
    row = session.get(Settlement, settlement_id)
    if row is None:
        raise NoSuchClaim(str(settlement_id))
    kept = row.inputs
    inputs = Inputs(
        region=kept["region"],
        scheme=Scheme(kept["scheme"]),
        status=Status(kept["status"]),
        level=Level(kept["level"]),
        filing=None if kept["filing"] is None else FilingKind(kept["filing"]),
        away=kept["away"],
        entitled=frozenset(Payer(name) for name in kept["entitled"]),
        year=YearView(**kept["year"]),
        own_account_minor=kept["own_account_minor"],
        family_account_minor=kept["family_account_minor"],
    )
    return inputs.split(rules.facts_from_json(row.facts), on=row.admitted_on)
