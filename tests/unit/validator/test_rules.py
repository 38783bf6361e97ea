"""Whether the gate opens: the rules in their order, and both sides of every line."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from card.credentials import Entitlement, Presentation, Reason, Static, TapKind, Use, numbers
from card.validator.rules import Memory, Risk, Staleness, judge, kind_of, usable

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
SENIOR = Entitlement(code="senior-70", scope_city="320100", expires_on=NOW.date())
PASS = Entitlement(code="month-pass-20", scope_city="320100", expires_on=NOW.date())
STATIC = Static(
    issuer="320100",
    number=numbers.make("320100", 1),
    issued_at=NOW,
    expires_at=NOW + timedelta(days=30),
    status_index=1,
    device_key=b"k" * 32,
)
SHOWN = Presentation(static=STATIC, issuer_kid=b"", device_kid=b"d", shown_at=NOW, counter=5, raw=b"")
NEW = Memory()


def known(**changes: object) -> Memory:
    plain = Memory(counter=4, accepted_at=NOW - timedelta(hours=1), accepted_kind=TapKind.ENTRY)
    return replace(plain, **changes)  # type: ignore[arg-type]


def ask(memory: Memory = NEW, shown: Presentation = SHOWN, **changes: object) -> Reason | None:
    facts: dict[str, object] = {
        "denied": False,
        "memory": memory,
        "kind": TapKind.ENTRY,
        "now": NOW,
        "staleness": Staleness.FRESH,
        "risk": Risk(),
        "entitlements": (),
    }
    return judge(shown, **{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("memory", "changes", "reason"),
    [
        (NEW, {}, None),
        (known(), {}, None),
        (known(), {"denied": True}, Reason.CARD_BLOCKED),
        (known(counter=5), {}, Reason.REPLAYED),
        (known(counter=5), {"denied": True}, Reason.CARD_BLOCKED),  # the list is asked first
        (known(accepted_at=NOW - timedelta(seconds=59)), {}, Reason.PASSBACK),
        (known(accepted_at=NOW - timedelta(seconds=60)), {}, None),
        (known(accepted_at=NOW - timedelta(seconds=5)), {"kind": TapKind.EXIT}, None),  # straight back out is allowed
        (NEW, {"risk": Risk(requires=("staff",))}, Reason.ENTITLEMENT_MISSING),
        (NEW, {"risk": Risk(requires=("senior-70",)), "entitlements": (SENIOR,)}, None),
    ],
)
def test_the_rules_in_their_order(memory: Memory, changes: dict[str, object], reason: Reason | None) -> None:
    assert ask(memory, **changes) is reason


@pytest.mark.parametrize(
    ("staleness", "new", "at_limit", "holds_pass", "seen_before"),
    [
        (Staleness.FRESH, None, None, None, None),
        (Staleness.LIMITED, None, Reason.FIRST_SEEN_LIMIT, None, None),
        (Staleness.KNOWN_ONLY, Reason.FIRST_SEEN_LIMIT, Reason.FIRST_SEEN_LIMIT, None, None),
        (Staleness.BEYOND, *[Reason.LIST_TOO_OLD] * 4),
    ],
)
def test_the_longer_alone_the_less_a_gate_risks(
    staleness: Staleness, new: object, at_limit: object, holds_pass: object, seen_before: object
) -> None:
    full = Memory(first_seen_since_sync=50)
    assert ask(Memory(first_seen_since_sync=49), staleness=staleness) is new
    assert ask(full, staleness=staleness) is at_limit
    assert ask(full, staleness=staleness, entitlements=(PASS,)) is holds_pass
    assert ask(known(first_seen_since_sync=50), staleness=staleness) is seen_before


def test_beyond_three_days_the_operator_chooses() -> None:
    assert ask(staleness=Staleness.BEYOND, risk=Risk.of({"beyond": "open"})) is None
    assert ask(staleness=Staleness.BEYOND, risk=Risk.of({"beyond": "closed"})) is Reason.LIST_TOO_OLD


@pytest.mark.parametrize(
    ("age", "tier"),
    [
        (timedelta(hours=1), Staleness.FRESH),
        (timedelta(hours=1, seconds=1), Staleness.LIMITED),
        (timedelta(hours=24), Staleness.LIMITED),
        (timedelta(hours=24, seconds=1), Staleness.KNOWN_ONLY),
        (timedelta(hours=72), Staleness.KNOWN_ONLY),
        (timedelta(hours=72, seconds=1), Staleness.BEYOND),
    ],
)
def test_each_limit_belongs_to_the_tier_below(age: timedelta, tier: Staleness) -> None:
    assert Risk().staleness(age) is tier
    assert Risk().staleness(age, ended=True) is Staleness.BEYOND


@pytest.mark.parametrize(
    ("mode", "last", "asked", "kind"),
    [
        ("entry", TapKind.ENTRY, None, TapKind.ENTRY),
        ("exit", None, None, TapKind.EXIT),
        ("ride", None, None, TapKind.RIDE),
        ("both", None, None, TapKind.ENTRY),
        ("both", TapKind.ENTRY, None, TapKind.EXIT),
        ("both", TapKind.EXIT, None, TapKind.ENTRY),
        ("entry", None, TapKind.EXIT, TapKind.EXIT),
    ],
)
def test_a_gate_that_serves_both_ways_lets_out_who_came_in(
    mode: str, last: TapKind | None, asked: TapKind | None, kind: TapKind
) -> None:
    assert kind_of(mode, Memory(accepted_kind=last), asked) is kind


def test_a_one_layer_code_is_good_once_for_each_second_it_was_signed_in() -> None:
    kiosk = SHOWN._replace(static=replace(STATIC, use=Use.KIOSK, device_key=b""), counter=0)
    signed_at = int(STATIC.issued_at.timestamp())
    facts = {
        "denied": False,
        "kind": TapKind.EXIT,
        "now": NOW,
        "staleness": Staleness.FRESH,
        "risk": Risk(),
        "entitlements": (),
    }
    assert judge(kiosk, memory=known(counter=signed_at - 1), **facts) is None  # type: ignore[arg-type]
    assert judge(kiosk, memory=known(counter=signed_at), **facts) is Reason.REPLAYED  # type: ignore[arg-type]


def test_an_entitlement_of_another_city_is_not_shown_here() -> None:
    shown = SHOWN._replace(static=replace(STATIC, entitlements=(SENIOR, PASS)))
    assert usable(shown, city="320100", on=NOW.date()) == (SENIOR, PASS)
    assert usable(shown, city="320500", on=NOW.date()) == ()


def test_risk_rules_that_make_no_sense_leave_the_defaults() -> None:
    assert Risk.of({"fresh_hours": "soon", "first_seen_limit": -3, "passback_s": -1}) == Risk()
    assert Risk.of({"fresh_hours": 0.5, "first_seen_limit": 0}) == Risk(fresh=timedelta(minutes=30), first_seen_limit=0)
