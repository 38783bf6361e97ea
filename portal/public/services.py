"""``/services``: what the city does for residents, and for each service who qualifies, what it takes and how long."""

from typing import Final

from flask import Blueprint, render_template, request

from app.kernel import clock
from app.kernel.clock import civil_date
from app.web.auth import Role, principal_or_none, public
from app.web.db import transaction
from app.web.i18n import language
from services import applications, catalogue
from services.catalogue import Fact, Item, Source, Verdict, Words

blueprint = Blueprint("services", __name__, url_prefix="/services")

AGE_MAX: Final = 130
TONES: Final = {Verdict.YES: "good", Verdict.NO: "bad", Verdict.MAYBE: "wait"}


@blueprint.app_template_filter("said")
def said(words: Words | None) -> str:
    """A text of the catalogue in the page's language."""
    return words.said(language()) if words else ""


@blueprint.app_template_filter("cited")
def cited(source: Source) -> str:
    """A source of law as it is cited: the act, and the article in it."""
    between = ", " if language() == "en" else ""
    return f"{said(source.act)}{between}{said(source.article)}" if source.article else said(source.act)


@blueprint.get("")
@public
def show() -> str:
    """Every service, with its time and fee."""
    with transaction() as session:
        items = catalogue.items(session)
    wanted = request.args.get("q", "").strip().lower()
    found = [item for item in items if not wanted or wanted in _words(item)]
    return render_template("public/services/list.html", items=found, q=request.args.get("q", ""))


def _words(item: Item) -> str:
    texts = (item.name, item.summary, item.audience, item.department)
    return " ".join(f"{text.en} {text.zh_Hans_CN}" for text in texts).lower()


@blueprint.get("/<code>")
@public
def item(code: str) -> str:
    """One service."""
    who = principal_or_none()
    known: dict[str, int | bool | None] = {}
    with transaction() as session:
        found = catalogue.item(session, code)
        if who is not None and Role.RESIDENT in who.roles:
            known = dict(applications.facts_of_person(session, who.person_id, on=civil_date(clock.now())))
            drafts = applications.drafts(session, who.person_id, code)
        else:
            drafts = []
    asked = [fact for fact in found.facts if known.get(fact.code) is None]
    facts = {**known, **{fact.code: read(fact, request.args.get(fact.code, "")) for fact in asked}}
    return render_template(
        "public/services/item.html",
        item=found,
        asked=asked,
        given=request.args,
        checked=any(request.args.get(fact.code) for fact in asked) or bool(known and not asked),
        eligibility=catalogue.eligibility(found, facts),
        tones={verdict.value: tone for verdict, tone in TONES.items()},
        questions={fact.code: fact.question for fact in found.facts},
        drafts=drafts,
    )


def read(fact: Fact, text: str) -> int | bool | None:
    """A fact as somebody answered it in the address; none where they did not, or not in its shape."""
    if fact.kind == "yes-no":
        return {"yes": True, "no": False}.get(text)
    return int(text) if text.isascii() and text.isdigit() and int(text) <= AGE_MAX else None
