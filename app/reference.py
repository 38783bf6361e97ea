"""``flask reference`` writes what the code declares into ``docs/reference``: errors, settings, events and the API.

A test compares, so the pages cannot be older than the code they describe.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from flask import Flask
from pydantic_core import PydanticUndefined

from app import models as models  # noqa: PLC0414  tables declare refusals too
from app import wiring
from app.kernel.errors import Refusal, all_refusals
from app.kernel.settings import Settings
from app.web.i18n import DEFAULT, load
from portal.public import reference

FOLDER: Final = Path(__file__).parents[1] / "docs" / "reference"
OURS: Final = ("app", "card", "services", "portal")
WRITTEN: Final = "<!-- Written by `flask reference` from the code; change the code and run it again. -->"


def refusals() -> list[type[Refusal]]:
    """Every refusal of the product (a test may define others), by code."""
    return [kind for kind in all_refusals() if kind.__module__.split(".")[0] in OURS]


def first_paragraph(thing: object) -> str:
    """What a docstring says first, on one line."""
    return " ".join((thing.__doc__ or "").strip().split("\n\n")[0].split())


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def page(title: str, words: str, *parts: str) -> str:
    """One page."""
    return "\n\n".join([WRITTEN, f"# {title}", words, *(part for part in parts if part)]) + "\n"


def errors() -> str:
    """Every refusal, with the sentence that a person reads in both languages."""
    chinese = load(DEFAULT)
    rows = [
        [f"`{kind.code}`", str(kind.status), kind.sentence, str(chinese.gettext(kind.sentence)), first_paragraph(kind)]
        for kind in refusals()
    ]
    return page(
        "Errors",
        "Codes are permanent: match on them. Sentences are for people and may improve; `%(name)s` is filled in, and machines "
        "get the same values under `params` of the problem document (RFC 9457).",
        table(["code", "HTTP", "English", "中文", "meaning"], rows),
    )


def settings() -> str:
    """Every setting of a deployment."""
    rows = []
    for name, field in Settings.model_fields.items():
        given = field.default is not PydanticUndefined
        secret = "Secret" in str(field.annotation)
        default = ("*required*" if not given else "–" if secret or field.default == "" else f"`{field.default}`").replace(
            "|", "/"
        )
        rows.append([f"`{name.upper()}`", default, field.description or ""])
    return page(
        "Settings",
        "Read from the environment when a process starts. A value that is missing or wrong is named, and nothing starts.",
        table(["variable", "default", "meaning"], rows),
    )


def events() -> str:
    """Every event, what it causes, and every job."""
    causes: dict[str, tuple[str, object]] = {
        **{name: ("handler", handler) for name, handler in wiring.HANDLERS.items()},
        **{name: ("courier", courier) for name, courier in wiring.COURIERS.items()},
    }
    rows = []
    for name, (kind, act) in sorted(causes.items()):
        wrapped = getattr(act, "func", act)
        module, function = getattr(wrapped, "__module__", ""), getattr(wrapped, "__qualname__", "")
        rows.append([f"`{name}`", kind, f"`{module}.{function}`", first_paragraph(wrapped)])
    jobs = sorted(wiring.JOBS, key=lambda job: job.name)
    schedule = [[f"`{job.name}`", f"{job.every_seconds} s", first_paragraph(job.run)] for job in jobs]
    return page(
        "Events and jobs",
        "An event is written in the transaction that causes it and delivered by the worker at least once. A *handler* runs in "
        "a transaction together with the mark that it is done; a *courier* speaks to the network outside any transaction.",
        table(["event", "by", "causes", "meaning"], rows),
        "## Jobs",
        "The worker repeats them; each run is idempotent.",
        table(["job", "every", "meaning"], schedule),
    )


def api(app: Flask) -> str:
    """Every operation of the machine interface."""
    parts = []
    with app.app_context():
        for group in reference.groups():
            rows = [
                [f"`{operation.method} {operation.path}`", operation.who + (f" `{operation.scope}`" if operation.scope else ""),
                 operation.title]
                for operation in group.operations
            ]  # fmt: skip
            parts += [f"## {group.name}", group.text, table(["operation", "who may call it", "what it does"], rows)]
    return page(
        "API",
        "The running city shows the same with every field at `/reference/api`, and as OpenAPI 3.1 at `/openapi.json`.",
        *parts,
    )


def pages(app: Flask) -> dict[str, str]:
    """Every page by its file name."""
    return {"errors.md": errors(), "settings.md": settings(), "events.md": events(), "api.md": api(app)}


def write(app: Flask, folder: Path = FOLDER) -> list[str]:
    """Write what changed; answer the names of it."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in pages(app).items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed
