"""What the gate says: one line a decision, in both languages, or the same as JSON."""

import json
from typing import Final

from card.credentials import SENTENCES, Decision, numbers
from card.validator.terminal import Outcome

OPEN: Final = {"zh_Hans_CN": "请通行", "en": "Go ahead"}
AGAIN: Final = {"zh_Hans_CN": "请再刷一次卡", "en": "Hold the card there again"}
KINDS: Final = {
    "entry": {"zh_Hans_CN": "进站", "en": "entry"},
    "exit": {"zh_Hans_CN": "出站", "en": "exit"},
    "ride": {"zh_Hans_CN": "乘车", "en": "ride"},
}
ENTITLEMENTS: Final = {
    "senior-60": {"zh_Hans_CN": "60至69岁", "en": "aged 60 to 69"},
    "senior-70": {"zh_Hans_CN": "70岁以上", "en": "aged 70 and over"},
    "student": {"zh_Hans_CN": "学生", "en": "student"},
    "disabled": {"zh_Hans_CN": "残疾人", "en": "disabled person"},
    "veteran": {"zh_Hans_CN": "退役军人", "en": "veteran"},
}


def sentence(outcome: Outcome) -> dict[str, str]:
    """What the display shows."""
    return OPEN if outcome.reason is None else SENTENCES[outcome.reason]


def line(outcome: Outcome) -> str:
    """One line for a person."""
    said = sentence(outcome)
    mark = "✓" if outcome.decision is Decision.ACCEPTED else "✗"
    parts = [f"{mark} {said['zh_Hans_CN']} · {said['en']}"]
    kind = KINDS[outcome.kind]
    if outcome.card_number:
        parts.append(f"{kind['zh_Hans_CN']} {kind['en']}")
        parts.append(numbers.masked(outcome.card_number))
    for held in outcome.entitlements:
        named = ENTITLEMENTS.get(held.code, {"zh_Hans_CN": held.code, "en": held.code})
        parts.append(f"{named['zh_Hans_CN']} {named['en']}")
    if outcome.reason is not None:
        parts.append(f"[{outcome.reason}]")
    return "  ".join(parts)


def document(outcome: Outcome) -> str:
    """The same as one line of JSON."""
    return json.dumps(
        {
            "decision": outcome.decision,
            "reason": outcome.reason or "",
            "sentence": sentence(outcome),
            "kind": outcome.kind,
            "card_number": outcome.card_number,
            "issuer": outcome.issuer,
            "entitlements": [held.code for held in outcome.entitlements],
            "counter": outcome.counter,
            "boot_id": outcome.boot_id,
            "seq": outcome.seq,
            "took_us": outcome.took_us,
        },
        ensure_ascii=False,
    )


def again(*, as_json: bool) -> str:
    """A chip left the field before anything was decided."""
    if as_json:
        return json.dumps({"decision": "", "reason": "card-gone", "sentence": AGAIN}, ensure_ascii=False)
    return f"… {AGAIN['zh_Hans_CN']} · {AGAIN['en']}  [card-gone]"
