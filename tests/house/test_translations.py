"""Every sentence that a person may read has its Chinese."""

import ast
from pathlib import Path

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po

from app.web.i18n import TRANSLATIONS, load, rooms

ROOT = Path(__file__).parents[2]
KEYWORDS = {**DEFAULT_KEYWORDS, "msg": None, "lazy_gettext": None}
PYTHON = [("**.py", "python")]
TEMPLATES = [
    ("**.html", "jinja2.ext:babel_extract"),
    ("**.txt", "jinja2.ext:babel_extract"),
    ("**.xml", "jinja2.ext:babel_extract"),
]
SOURCES = (("app", PYTHON), ("card", PYTHON), ("services", PYTHON), ("portal", PYTHON), ("portal/templates", TEMPLATES))


def sentences() -> dict[str, str]:
    """Every message id and the first place that uses it."""
    found: dict[str, str] = {}
    for folder, methods in SOURCES:
        for name, line, message, *_ in extract_from_dir(
            ROOT / folder, methods, {"**": {"newstyle_gettext": "true", "silent": "false"}}, keywords=KEYWORDS
        ):
            for text in message if isinstance(message, tuple) else (message,):
                if text:
                    found.setdefault(text, f"{folder}/{name}:{line}")
    return found


def chinese() -> dict[str, str]:
    """Every message id of every catalogue with its Chinese."""
    known: dict[str, str] = {}
    for path in TRANSLATIONS.glob("*/zh_Hans_CN/LC_MESSAGES/messages.po"):
        with path.open("rb") as file:
            for message in read_po(file, locale="zh_Hans_CN"):
                ids = message.id if isinstance(message.id, tuple) else (message.id,)
                texts = message.string if isinstance(message.string, tuple) else (message.string,)
                if not message.fuzzy:
                    known.update({text: texts[0] for text in ids if text and texts[0]})
    return known


def test_every_sentence_has_its_chinese() -> None:
    known = chinese()
    missing = sorted(f"{place}: {text}" for text, place in sentences().items() if text not in known)
    assert missing == [], "write their Chinese into portal/translations/<your area>/zh_Hans_CN/LC_MESSAGES/messages.po"


def test_the_chinese_keeps_every_placeholder() -> None:
    def holes(text: str) -> set[str]:
        return {part.split(")")[0] for part in text.split("%(")[1:]}

    used = sentences()
    assert [text for text, translated in chinese().items() if text in used and holes(text) != holes(translated)] == []


@pytest.mark.parametrize("folder", ["app", "card", "services", "portal"])
def test_no_sentence_is_marked_with_a_formatted_string(folder: str) -> None:
    """``_(f"…")`` can never be found in a catalogue."""
    wrong = []
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "msg", "gettext"}:
                wrong += [
                    f"{path.relative_to(ROOT)}:{node.lineno}" for part in node.args[:1] if isinstance(part, ast.JoinedStr)
                ]
    assert wrong == []


def test_a_short_word_means_what_its_room_means_by_it() -> None:
    clearing, hall = load("zh_Hans_CN", first="federation"), load("zh_Hans_CN", first="services")
    assert (clearing.gettext("Decided"), hall.gettext("Decided")) == ("决定时间", "已办结")


def test_every_room_that_has_words_of_its_own_exists() -> None:
    for room, catalogue in rooms().items():
        place = ROOT / room.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), room
        assert (TRANSLATIONS / catalogue).is_dir(), catalogue
