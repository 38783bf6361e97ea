"""How a medical bill is split, and which moves claims and filings allow. Pure.

What is payable, and to what extent, follows the catalogue of the place of treatment (:func:`line_facts`); deductible, ratio and
ceiling follow the policy of the insured place (:func:`terms_for`, :func:`split_bill`). Amounts inside are exact decimals in
yuan and are rounded half-up to fen only where somebody pays (:class:`Share`). Every result explains itself step by step.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from app.kernel import money, parameters
from app.kernel.db import Json
from app.kernel.errors import IllegalMove, Invalid, Refusal, msg
from app.kernel.explain import Step, as_amount, as_percent, steps_from_json, steps_to_json
from app.kernel.parameters import Figure

ZERO: Final = Decimal(0)


# --- words -----------------------------------------------------------------------------------------------------------------


class Scheme(StrEnum):
    """Which insurance covers the person."""

    EMPLOYEE = "employee"


class Status(StrEnum):
    """Whether the person still works."""

    IN_SERVICE = "in-service"
    RETIRED = "retired"


class Level(StrEnum):
    """The level of a hospital (一级、二级、三级)."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    TERTIARY = "tertiary"


class ItemClass(StrEnum):
    """The class of a catalogue item (甲类、乙类、丙类)."""

    A = "A"
    B = "B"
    C = "C"


class FilingKind(StrEnum):
    """Why a person is treated away from the insured place (异地就医备案)."""

    LONG_TERM = "long-term"
    REFERRAL = "referral"
    EMERGENCY = "emergency"
    SELF = "self"


class FilingState(StrEnum):
    """Where a filing stands."""

    DRAFT = "draft"
    FILED = "filed"
    ACTIVE = "active"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ClaimState(StrEnum):
    """Where a claim stands at the place of treatment."""

    REGISTERED = "registered"
    LINES = "lines"
    PRE_SETTLED = "pre-settled"
    SETTLED = "settled"
    REVERSED = "reversed"
    CLEARED = "cleared"
    CONFIRMED = "confirmed"
    DISPUTED = "disputed"
    PAID = "paid"


class Payer(StrEnum):
    """Who pays, in this order."""

    POOL = "pool"
    CATASTROPHIC = "catastrophic"
    OTHER_FUND = "other-fund"
    MEDICAL_AID = "medical-aid"
    OWN_ACCOUNT = "own-account"
    FAMILY_ACCOUNT = "family-account"
    CASH = "cash"


FUNDS: Final = (Payer.POOL, Payer.CATASTROPHIC, Payer.OTHER_FUND, Payer.MEDICAL_AID)

FILING_MOVES: Final[Mapping[FilingState, frozenset[FilingState]]] = {
    FilingState.DRAFT: frozenset({FilingState.FILED, FilingState.CANCELLED}),
    FilingState.FILED: frozenset({FilingState.ACTIVE, FilingState.CANCELLED}),
    FilingState.ACTIVE: frozenset({FilingState.EXPIRED, FilingState.CANCELLED}),
    FilingState.EXPIRED: frozenset(),
    FilingState.CANCELLED: frozenset(),
}

CLAIM_MOVES: Final[Mapping[ClaimState, frozenset[ClaimState]]] = {
    ClaimState.REGISTERED: frozenset({ClaimState.LINES}),
    ClaimState.LINES: frozenset({ClaimState.LINES, ClaimState.PRE_SETTLED}),
    ClaimState.PRE_SETTLED: frozenset({ClaimState.LINES, ClaimState.PRE_SETTLED, ClaimState.SETTLED}),
    ClaimState.SETTLED: frozenset({ClaimState.REVERSED, ClaimState.CLEARED}),
    ClaimState.CLEARED: frozenset({ClaimState.CONFIRMED, ClaimState.DISPUTED, ClaimState.REVERSED}),
    ClaimState.CONFIRMED: frozenset({ClaimState.PAID, ClaimState.REVERSED}),
    ClaimState.DISPUTED: frozenset({ClaimState.CONFIRMED, ClaimState.REVERSED}),
    ClaimState.PAID: frozenset({ClaimState.REVERSED}),  # money goes back in the next clearing cycle, with a reference
    ClaimState.REVERSED: frozenset(),
}


def move_filing(state: FilingState, to: FilingState) -> FilingState:
    """``to`` where the filing may go there; raises :class:`IllegalMove`."""
    if to not in FILING_MOVES[state]:
        raise IllegalMove(f"filing {state} -> {to}", state=state.value)
    return to


def move_claim(state: ClaimState, to: ClaimState) -> ClaimState:
    """``to`` where the claim may go there; raises :class:`IllegalMove`."""
    if to not in CLAIM_MOVES[state]:
        raise IllegalMove(f"claim {state} -> {to}", state=state.value)
    return to


# --- what the place of treatment decides -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class BillLine:
    """One line of a bill with what the catalogue of the place of treatment says of it.

    ``unit_price_minor`` and ``limit_minor`` (the price limit of one unit, if any) are fen; ``first_self_pay`` is a ratio.
    """

    number: int
    code: str
    name: Mapping[str, str]
    item_class: ItemClass
    quantity: Decimal
    unit_price_minor: int
    first_self_pay: Decimal = ZERO
    limit_minor: int | None = None


@dataclass(frozen=True, kw_only=True)
class LineFacts:
    """What the catalogue makes of a line, in yuan: ``amount = own + over + pre + scope``.

    ``own`` is wholly own pay (class C), ``over`` is above the price limit, ``pre`` is the share the person bears before the
    policy applies, ``scope`` is what the insured place's policy looks at.
    """

    number: int
    code: str
    name: Mapping[str, str]
    item_class: ItemClass
    amount: Decimal
    own: Decimal
    over: Decimal
    pre: Decimal
    scope: Decimal
    steps: tuple[Step, ...] = ()


class BadLine(Invalid):
    """A bill line whose figures cannot be."""

    code = "bad-claim-line"
    sentence = msg("A line of the bill does not add up.")


def line_facts(line: BillLine) -> LineFacts:
    """Split one line by the catalogue; raises :class:`BadLine` for quantities, prices or shares that cannot be."""
    fields = {}
    if line.quantity <= 0:
        fields[f"lines.{line.number}.quantity"] = msg("The quantity must be more than zero.")
    if line.unit_price_minor < 0:
        fields[f"lines.{line.number}.unit_price"] = msg("The price cannot be below zero.")
    if not 0 <= line.first_self_pay <= 1:
        fields[f"lines.{line.number}.first_self_pay"] = msg("The share must be between 0 and 100 per cent.")
    if fields:
        raise BadLine(fields=fields)
    price = money.major(line.unit_price_minor)
    amount = money.major(money.half_up_minor(price * line.quantity))  # a bill is in fen
    if line.item_class is ItemClass.C:
        step = Step(
            code="line-own",
            sentence=msg("Class C is not covered: all of %(amount)s is yours to pay."),
            params={"amount": as_amount(amount)},
            result=amount,
        )
        return _facts(line, amount, own=amount, over=ZERO, pre=ZERO, steps=(step,))
    steps = []
    over = ZERO
    if line.limit_minor is not None and line.unit_price_minor > line.limit_minor:
        limit = money.major(line.limit_minor)
        over = min(amount, (price - limit) * line.quantity)
        steps.append(
            Step(
                code="line-over",
                sentence=msg("The price limit is %(limit)s; the price is %(price)s. Above the limit: %(over)s."),
                params={"limit": as_amount(limit), "price": as_amount(price), "over": as_amount(over)},
                result=over,
            )
        )
    pre = (amount - over) * line.first_self_pay
    if pre:
        steps.append(
            Step(
                code="line-pre",
                sentence=msg("You bear %(percent)s %% of %(amount)s first: %(pre)s."),
                params={"percent": as_percent(line.first_self_pay), "amount": as_amount(amount - over), "pre": as_amount(pre)},
                result=pre,
            )
        )
    return _facts(line, amount, own=ZERO, over=over, pre=pre, steps=tuple(steps))


def _facts(line: BillLine, amount: Decimal, *, own: Decimal, over: Decimal, pre: Decimal, steps: tuple[Step, ...]) -> LineFacts:
    scope = amount - own - over - pre
    within = Step(
        code="line-scope",
        sentence=msg("Within the insurance's scope: %(scope)s."),
        params={"scope": as_amount(scope)},
        result=scope,
    )
    return LineFacts(
        number=line.number,
        code=line.code,
        name=line.name,
        item_class=line.item_class,
        amount=amount,
        own=own,
        over=over,
        pre=pre,
        scope=scope,
        steps=(*steps, within),
    )


def check_facts(lines: Sequence[LineFacts]) -> None:
    """Hold facts received from another city to their own arithmetic; raises :class:`BadLine` naming each line."""
    fields = {
        f"lines.{line.number}": msg("The parts of the line do not add up to its amount.")
        for line in lines
        if line.own + line.over + line.pre + line.scope != line.amount
        or min(line.amount, line.own, line.over, line.pre, line.scope) < 0
        or line.amount != money.major(money.half_up_minor(line.amount))
    }
    if not lines:
        fields["lines"] = msg("A claim needs at least one line.")
    if len({line.number for line in lines}) != len(lines):
        fields["lines"] = msg("Two lines carry the same number.")
    if fields:
        raise BadLine(fields=fields)


# --- what the insured place decides ----------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LevelPolicy(_Strict):
    """Deductible in yuan and ratio of the pool at one level of hospital; the bonus is added for retired people."""

    deductible: Figure
    ratio: Figure
    retired_bonus: Figure


class Tier(_Strict):
    """From ``above`` yuan of accumulated self-pay within scope on, ``ratio`` of it comes back."""

    above: Figure
    ratio: Figure


class FilingPolicy(_Strict):
    """How a filing changes the ratio: by percentage points, or by a factor. Cities use either."""

    mode: Literal["points", "factor"]
    value: Decimal
    source: str


class SupplementPolicy(_Strict):
    """A further payer's share of what is left within scope."""

    ratio: Figure


class SchemePolicy(_Strict):
    """One scheme of one insured place."""

    levels: dict[Level, LevelPolicy]
    admissions: tuple[Figure, ...]
    ceiling: Figure | None
    catastrophic: tuple[Tier, ...]
    filings: dict[FilingKind, FilingPolicy]
    supplements: dict[Payer, SupplementPolicy]


class PolicyVersion(_Strict):
    """The policy of an insured place from a day on."""

    effective_from: date
    version: str
    schemes: dict[Scheme, SchemePolicy]


class PolicyFile(_Strict):
    """One file of ``data/policies``."""

    region: str
    name: dict[str, str]
    sources: tuple[str, ...]
    versions: tuple[PolicyVersion, ...]


@cache
def _policy_file(region: str) -> PolicyFile:
    assert region.isdigit(), "a region is its six digits"
    file = files(__package__) / "data" / "policies" / f"{region}.yaml"
    if not file.is_file():
        raise parameters.NoParameters(f"health policy of {region}")
    return PolicyFile.model_validate(parameters.read(file))


def policy_on(region: str, on: date) -> PolicyVersion:
    """The policy of ``region`` on ``on``; raises :class:`app.kernel.parameters.NoParameters`."""
    return parameters.version_on(_policy_file(region).versions, on, what=f"health policy of {region}")


class FilingRequired(Refusal):
    """Treatment away from the insured place without a filing that covers it."""

    code = "filing-required"
    sentence = msg("There is no active filing for treatment in that city on that day. File first; it can be done at once.")
    status = 409


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The policy applied to one admission: what :func:`split_bill` needs. Amounts in yuan, ratios as fractions."""

    version: str
    deductible: Decimal
    ratio: Decimal
    ceiling_left: Decimal | None
    tiers: tuple[tuple[Decimal, Decimal], ...]
    self_pay_before: Decimal
    supplements: tuple[tuple[Payer, Decimal], ...] = ()
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Year:
    """What a person's year has used up before this claim, in yuan; ``admissions`` counts earlier ones."""

    admissions: int = 0
    pool_used: Decimal = ZERO
    self_pay_in_scope: Decimal = ZERO


def terms_for(
    version: PolicyVersion,
    *,
    scheme: Scheme,
    status: Status,
    level: Level,
    year: Year,
    away: bool,
    filing: FilingKind | None,
    entitled: frozenset[Payer] = frozenset(),
) -> Terms:
    """The terms of one admission; raises :class:`FilingRequired` when treated away without a filing."""
    policy = version.schemes[scheme]
    at_level = policy.levels[level]
    steps = []
    factor = policy.admissions[min(year.admissions, len(policy.admissions) - 1)]
    deductible = at_level.deductible.value * factor.value
    steps.append(
        Step(
            code="deductible",
            sentence=msg(
                "Deductible at this level of hospital, admission no. %(number)s of the year: "
                "%(full)s × %(factor)s = %(amount)s."
            ),
            params={
                "number": str(year.admissions + 1),
                "full": as_amount(at_level.deductible.value),
                "factor": f"{factor.value:f}",
                "amount": as_amount(deductible),
            },
            result=deductible,
            source=at_level.deductible.source,
        )
    )
    ratio = at_level.ratio.value
    steps.append(
        Step(
            code="ratio",
            sentence=msg("The pooled fund pays %(percent)s %% at this level of hospital."),
            params={"percent": as_percent(ratio)},
            result=ratio,
            source=at_level.ratio.source,
        )
    )
    if status is Status.RETIRED and at_level.retired_bonus.value:
        ratio += at_level.retired_bonus.value
        steps.append(
            Step(
                code="ratio-retired",
                sentence=msg("Retired: %(bonus)s points more, %(percent)s %%."),
                params={"bonus": as_percent(at_level.retired_bonus.value), "percent": as_percent(ratio)},
                result=ratio,
                source=at_level.retired_bonus.source,
            )
        )
    if away:
        if filing is None or filing not in policy.filings:
            raise FilingRequired
        ratio = _adjusted(ratio, policy.filings[filing])
        steps.append(
            Step(
                code=f"ratio-{filing}",
                sentence=_FILING_SENTENCES[filing],
                params={"percent": as_percent(ratio)},
                result=ratio,
                source=policy.filings[filing].source,
            )
        )
    return Terms(
        version=version.version,
        deductible=deductible,
        ratio=ratio,
        ceiling_left=None if policy.ceiling is None else max(ZERO, policy.ceiling.value - year.pool_used),
        tiers=tuple((tier.above.value, tier.ratio.value) for tier in policy.catastrophic),
        self_pay_before=year.self_pay_in_scope,
        supplements=tuple((payer, found.ratio.value) for payer, found in policy.supplements.items() if payer in entitled),
        steps=tuple(steps),
    )


_FILING_SENTENCES: Final = {
    FilingKind.LONG_TERM: msg("Treated away from home with a long-term filing: %(percent)s %%."),
    FilingKind.REFERRAL: msg("Treated away from home on referral: %(percent)s %%."),
    FilingKind.EMERGENCY: msg("Treated away from home in an emergency: %(percent)s %%."),
    FilingKind.SELF: msg("Treated away from home by own choice: %(percent)s %%."),
}


def _adjusted(ratio: Decimal, filing: FilingPolicy) -> Decimal:
    changed = ratio * filing.value if filing.mode == "factor" else ratio + filing.value / 100
    return min(Decimal(1), max(ZERO, changed))


# --- the split -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one payer pays, in fen."""

    payer: Payer
    amount_minor: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """A bill, split. Fen where somebody pays, exact yuan where the formula passes through.

    ``shares`` holds every payer in order, zero amounts included, and sums to ``total_minor``.
    """

    version: str
    total_minor: int
    own: Decimal
    over: Decimal
    pre: Decimal
    scope: Decimal
    deductible: Decimal
    ratio: Decimal
    self_pay_before: Decimal
    self_pay_in_scope_minor: int
    shares: tuple[Share, ...]
    steps: tuple[Step, ...] = field(default=())

    def paid_by(self, *payers: Payer) -> int:
        """What ``payers`` pay together, in fen."""
        return sum(share.amount_minor for share in self.shares if share.payer in payers)

    @property
    def funds_minor(self) -> int:
        """What all funds pay, in fen."""
        return self.paid_by(*FUNDS)

    @property
    def person_minor(self) -> int:
        """What the person bears: own account, family account and cash, in fen."""
        return self.total_minor - self.funds_minor

    @property
    def owed_minor(self) -> int:
        """What the insured place owes the place of treatment: everything but cash, in fen."""
        return self.total_minor - self.paid_by(Payer.CASH)


def catastrophic_of(tiers: Sequence[tuple[Decimal, Decimal]], *, before: Decimal, after: Decimal) -> Decimal:
    """What comes back of the self-pay that rose from ``before`` to ``after`` yuan: each tier pays its ratio of its own part."""
    paid = ZERO
    for index, (above, ratio) in enumerate(tiers):
        until = tiers[index + 1][0] if index + 1 < len(tiers) else after
        part = min(after, until) - max(before, above)
        paid += max(ZERO, part) * ratio
    return paid


def split_bill(lines: Sequence[LineFacts], terms: Terms, *, own_account_minor: int = 0, family_account_minor: int = 0) -> Split:
    """Split a bill among its payers.

    ``own_account_minor`` and ``family_account_minor`` are what these accounts may spend, in fen. The parts always
    sum to the bill.
    """
    check_facts(lines)
    total, own, over, pre, scope = (
        sum((getattr(line, name) for line in lines), ZERO) for name in ("amount", "own", "over", "pre", "scope")
    )
    total_minor = money.half_up_minor(total)
    steps = list(terms.steps)
    steps.insert(
        0,
        Step(
            code="scope",
            sentence=msg(
                "Of %(total)s, %(own)s is not covered, %(over)s is above price limits and %(pre)s is borne first; "
                "%(scope)s is within scope."
            ),
            params={name: as_amount(value) for name, value in zip(_PARTS, (total, own, over, pre, scope), strict=True)},
            result=scope,
        ),
    )
    deductible = min(scope, terms.deductible)
    reckoned = (scope - deductible) * terms.ratio
    pool_minor = money.half_up_minor(reckoned if terms.ceiling_left is None else min(reckoned, terms.ceiling_left))
    pool = money.major(pool_minor)
    steps.append(
        Step(
            code="pool",
            sentence=msg("Pooled fund: (%(scope)s − %(deductible)s) × %(percent)s %% = %(amount)s."),
            params={
                "scope": as_amount(scope),
                "deductible": as_amount(deductible),
                "percent": as_percent(terms.ratio),
                "amount": as_amount(pool if terms.ceiling_left is None else money.major(money.half_up_minor(reckoned))),
            },
            result=pool,
        )
    )
    if terms.ceiling_left is not None and reckoned > terms.ceiling_left:
        steps.append(
            Step(
                code="ceiling",
                sentence=msg("The year's ceiling leaves %(left)s: the pooled fund pays %(amount)s."),
                params={"left": as_amount(terms.ceiling_left), "amount": as_amount(pool)},
                result=pool,
            )
        )
    left = scope - pool
    before, after = terms.self_pay_before, terms.self_pay_before + left
    catastrophic_minor = min(money.half_up_minor(catastrophic_of(terms.tiers, before=before, after=after)), _floor_minor(left))
    if terms.tiers:
        steps.append(_catastrophic_step(terms, before=before, left=left, amount=money.major(catastrophic_minor)))
    shares = {Payer.POOL: pool_minor, Payer.CATASTROPHIC: catastrophic_minor}
    left -= money.major(catastrophic_minor)
    for payer, ratio in terms.supplements:
        paid_minor = min(money.half_up_minor(left * ratio), _floor_minor(left))
        steps.append(
            Step(
                code=payer.value,
                sentence=_SUPPLEMENT_SENTENCES[payer],
                params={"left": as_amount(left), "percent": as_percent(ratio), "amount": as_amount(money.major(paid_minor))},
                result=money.major(paid_minor),
            )
        )
        shares[payer] = paid_minor
        left -= money.major(paid_minor)
    person_minor = total_minor - sum(shares.values())
    shares[Payer.OWN_ACCOUNT] = min(person_minor, max(0, own_account_minor))
    shares[Payer.FAMILY_ACCOUNT] = min(person_minor - shares[Payer.OWN_ACCOUNT], max(0, family_account_minor))
    shares[Payer.CASH] = person_minor - shares[Payer.OWN_ACCOUNT] - shares[Payer.FAMILY_ACCOUNT]
    steps.append(
        Step(
            code="person",
            sentence=msg(
                "You bear %(person)s: %(account)s from your medical account, %(family)s from the family account, "
                "%(cash)s at the desk."
            ),
            params={
                "person": as_amount(money.major(person_minor)),
                "account": as_amount(money.major(shares[Payer.OWN_ACCOUNT])),
                "family": as_amount(money.major(shares[Payer.FAMILY_ACCOUNT])),
                "cash": as_amount(money.major(shares[Payer.CASH])),
            },
            result=money.major(person_minor),
        )
    )
    split = Split(
        version=terms.version,
        total_minor=total_minor,
        own=own,
        over=over,
        pre=pre,
        scope=scope,
        deductible=deductible,
        ratio=terms.ratio,
        self_pay_before=before,
        self_pay_in_scope_minor=money.half_up_minor(scope) - pool_minor,
        shares=tuple(Share(payer=payer, amount_minor=shares.get(payer, 0)) for payer in Payer),
        steps=tuple(steps),
    )
    assert sum(share.amount_minor for share in split.shares) == split.total_minor, "the parts are the whole"
    assert all(share.amount_minor >= 0 for share in split.shares), "nobody pays less than nothing"
    return split


_PARTS: Final = ("total", "own", "over", "pre", "scope")

_SUPPLEMENT_SENTENCES: Final = {
    Payer.OTHER_FUND: msg("Supplementary fund: %(left)s left within scope × %(percent)s %% = %(amount)s."),
    Payer.MEDICAL_AID: msg("Medical aid: %(left)s left within scope × %(percent)s %% = %(amount)s."),
}


def _floor_minor(amount: Decimal) -> int:
    """Whole fen in ``amount`` yuan: a fund never pays a fraction that nobody was billed."""
    return int(amount * 100)


def _catastrophic_step(terms: Terms, *, before: Decimal, left: Decimal, amount: Decimal) -> Step:
    line, ratio = terms.tiers[0]
    after = before + left
    params = {"before": as_amount(before), "left": as_amount(left), "after": as_amount(after), "line": as_amount(line)}
    if after <= line:
        return Step(
            code="catastrophic-none",
            sentence=msg(
                "Serious-illness fund: your share within scope this year, %(before)s + %(left)s = %(after)s, "
                "is not above %(line)s."
            ),
            params=params,
            result=amount,
        )
    one_tier = before <= line and (len(terms.tiers) == 1 or after <= terms.tiers[1][0])
    params |= {"percent": as_percent(ratio), "amount": as_amount(amount)}
    return Step(
        code="catastrophic",
        sentence=msg("Serious-illness fund: (%(before)s + %(left)s − %(line)s) × %(percent)s %% = %(amount)s.")
        if one_tier
        else msg(
            "Serious-illness fund: your share within scope this year rises from %(before)s to %(after)s; "
            "the tiers pay %(amount)s."
        ),
        params=params,
        result=amount,
    )


# --- what travels and what is kept -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ClaimRequest:
    """A bill as the place of treatment puts it to the insured place.

    ``id`` is the message id: the same claim carries it at every repetition. ``accepted_at`` is when the hospital asked for
    settlement; it decides the clearing window and is the same on both sides.
    """

    id: UUID
    card_number: str
    insured_region: str
    treating_region: str
    hospital_id: str
    hospital_name: Mapping[str, str]
    level: Level
    admitted_on: date
    accepted_at: datetime
    lines: tuple[LineFacts, ...]

    @property
    def total_minor(self) -> int:
        """The bill, in fen."""
        return money.half_up_minor(sum((line.amount for line in self.lines), ZERO))

    @property
    def digest(self) -> str:
        """SHA-256 of all that was asked, to tell a repetition from another claim under the same id."""
        document = [
            str(self.id),
            self.card_number,
            self.insured_region,
            self.treating_region,
            self.hospital_id,
            self.level.value,
            self.admitted_on.isoformat(),
            self.accepted_at.isoformat(),
            [
                [line.number, line.code, line.item_class.value]
                + [f"{part.normalize():f}" for part in (line.amount, line.own, line.over, line.pre, line.scope)]
                for line in self.lines
            ],
        ]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Eligibility:
    """Whether and on what terms somebody is covered at a place on a day. Amounts in fen."""

    in_force: bool
    scheme: Scheme | None
    status: Status | None
    filing: FilingKind | None
    filing_needed: bool
    pool_ceiling_minor: int | None
    pool_used_minor: int
    self_pay_minor: int
    own_account_minor: int
    family_account_minor: int


def facts_to_json(lines: Sequence[LineFacts]) -> list[Json]:
    """Line facts as they are kept; decimals become strings."""
    return [
        {
            "number": line.number,
            "code": line.code,
            "name": dict(line.name),
            "item_class": line.item_class.value,
            **{name: f"{getattr(line, name):f}" for name in ("amount", "own", "over", "pre", "scope")},
            "steps": steps_to_json(line.steps),
        }
        for line in lines
    ]


def facts_from_json(documents: Iterable[Json]) -> tuple[LineFacts, ...]:
    """The inverse of :func:`facts_to_json`."""
    return tuple(
        LineFacts(
            number=int(document["number"]),
            code=str(document["code"]),
            name={str(language): str(text) for language, text in document["name"].items()},
            item_class=ItemClass(document["item_class"]),
            amount=Decimal(document["amount"]),
            own=Decimal(document["own"]),
            over=Decimal(document["over"]),
            pre=Decimal(document["pre"]),
            scope=Decimal(document["scope"]),
            steps=steps_from_json(document["steps"]),
        )
        for document in documents
    )


def split_to_json(split: Split) -> Json:
    """A split as it is kept and sent; decimals become strings."""
    return {
        "version": split.version,
        "total_minor": split.total_minor,
        **{name: f"{getattr(split, name):f}" for name in _SPLIT_DECIMALS},
        "self_pay_in_scope_minor": split.self_pay_in_scope_minor,
        "shares": {share.payer.value: share.amount_minor for share in split.shares},
        "steps": steps_to_json(split.steps),
    }


def split_from_json(document: Json) -> Split:
    """The inverse of :func:`split_to_json`; raises :class:`BadLine` where the parts are not the whole."""
    shares = tuple(Share(payer=payer, amount_minor=int(document["shares"].get(payer.value, 0))) for payer in Payer)
    total_minor = int(document["total_minor"])
    if sum(share.amount_minor for share in shares) != total_minor or min(share.amount_minor for share in shares) < 0:
        raise BadLine(fields={"total": msg("The parts of the bill do not add up to its total.")})
    own, over, pre, scope, deductible, ratio, before = (Decimal(document[name]) for name in _SPLIT_DECIMALS)
    return Split(
        version=str(document["version"]),
        total_minor=total_minor,
        own=own,
        over=over,
        pre=pre,
        scope=scope,
        deductible=deductible,
        ratio=ratio,
        self_pay_before=before,
        self_pay_in_scope_minor=int(document["self_pay_in_scope_minor"]),
        shares=shares,
        steps=steps_from_json(document["steps"]),
    )


_SPLIT_DECIMALS: Final = ("own", "over", "pre", "scope", "deductible", "ratio", "self_pay_before")


def national_fields(split: Split) -> dict[str, str]:
    """A split under the field names of the national interface (医保): yuan with two places."""

    def yuan(minor: int) -> str:
        return f"{money.major(minor):.2f}"

    return {
        "medfee_sumamt": yuan(split.total_minor),
        "fulamt_ownpay_amt": f"{split.own:.2f}",
        "overlmt_selfpay": f"{split.over:.2f}",
        "preselfpay_amt": f"{split.pre:.2f}",
        "inscp_scp_amt": f"{split.scope:.2f}",
        "act_pay_dedc": f"{split.deductible:.2f}",
        "hifp_pay": yuan(split.paid_by(Payer.POOL)),
        "hifob_pay": yuan(split.paid_by(Payer.CATASTROPHIC)),
        "oth_pay": yuan(split.paid_by(Payer.OTHER_FUND)),
        "maf_pay": yuan(split.paid_by(Payer.MEDICAL_AID)),
        "fund_pay_sumamt": yuan(split.funds_minor),
        "psn_part_amt": yuan(split.person_minor),
        "acct_pay": yuan(split.paid_by(Payer.OWN_ACCOUNT)),
        "acct_mulaid_pay": yuan(split.paid_by(Payer.FAMILY_ACCOUNT)),
        "psn_cash_pay": yuan(split.paid_by(Payer.CASH)),
    }
