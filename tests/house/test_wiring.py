"""Down by call, up by event: everything that is emitted is handled, and everything that is handled is emitted."""

import ast
from pathlib import Path

from app import wiring

ROOT = Path(__file__).parents[2]


def emitted() -> dict[str, str]:
    """Every event's name, with a place that emits it. A name that is not a literal cannot be checked, so it is not allowed."""
    found = {}
    for folder in ("app", "card", "services", "portal"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or ast.unparse(node.func) not in ("emit", "outbox.emit", "outbox.emit_all"):
                    continue
                name = node.args[1] if len(node.args) > 1 else None
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert isinstance(name, ast.Constant), f"{place}: the event's name is not a literal"
                found[str(name.value)] = place
    return found


def test_every_event_has_somewhere_to_go_and_every_handler_something_to_wait_for() -> None:
    handled = wiring.HANDLERS.keys() | wiring.COURIERS.keys()
    assert emitted().keys() == handled


def test_an_event_is_either_handled_or_couriered() -> None:
    assert not wiring.HANDLERS.keys() & wiring.COURIERS.keys()


def test_an_event_is_a_noun_and_what_happened_to_it() -> None:
    assert [name for name in emitted() if name.count(".") != 1 or name != name.lower()] == []
