"""What a decision brings about once it is in force: cards, entitlements, allowances, the letter, the message.

Runs from the outbox in one transaction, so that either all of it is there or none and it is tried again.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel.city import city_of
from app.kernel.clock import civil_date
from app.kernel.db import Json
from app.kernel.money import major
from card import benefits, cards
from card.credentials import Entitlement
from services import catalogue, documents, messages, people
from services.applications import queries
from services.applications.models import Application, ApplicationDecision, ApplicationEvent
from services.applications.rules import Happened, Outcome
from services.catalogue import Item, Source
from services.documents import Both, Letter
from services.people import PersonView

ENTITLED_YEARS: Final = 10
"""How long an entitlement without an end of its own is granted for; it is renewed with the card."""

NOTICE: Final = Both(
    zh="如不服本决定，可自收到之日起六十日内申请行政复议，或者自收到之日起六个月内向人民法院提起行政诉讼。",
    en=(
        "You may ask for administrative reconsideration within 60 days of receiving this decision, or bring an action before "
        "the people's court within six months."
    ),
)
"""Administrative Reconsideration Law, article 20; Administrative Litigation Law, article 46."""


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision in force, with what its effects need."""

    session: Session
    case: Application
    decision: ApplicationDecision
    person: PersonView
    at: datetime

    @property
    def by(self) -> str:
        """Whose word it is."""
        return f"person:{self.decision.approved_by}"

    def tell(self, kind: Happened, note: str = "") -> None:
        """Leave a stop on the timeline."""
        self.session.add(ApplicationEvent(application_id=self.case.id, at=self.at, kind=kind.value, actor="system", note=note))


def carry_out(session: Session, payload: Json) -> None:
    """The handler of ``application.approved`` and ``application.refused``."""
    found = queries.row(session, UUID(str(payload["application_id"])), lock=True)
    decision = queries.decision_row(session, found.id)
    assert decision is not None, "a decided case has its decision"
    at = datetime.fromisoformat(str(payload["at"]))
    person = people.get(session, found.person_id)
    item = catalogue.item(session, found.item_code, found.item_version)
    decided = Decided(session=session, case=found, decision=decision, person=person, at=at)
    for effect in decision.effects["list"]:
        _EFFECTS[effect["kind"]](decided, effect)
    documents.issue(
        session,
        subject=f"application:{found.id}",
        holder_id=person.id,
        holder_name=person.name,
        letter=letter(item, found, decision, person, officers=_officers(session, decision)),
        now=at,
    )
    decided.tell(Happened.LETTER_ISSUED)
    approved = decision.outcome == Outcome.APPROVED.value
    params: Json = {"service": item.name.model_dump(), "number": found.reference, "application_id": str(found.id)}
    if not approved:
        params["reason"] = decision.reason
    template = "application-approved" if approved else "application-refused"
    messages.send(session, person_id=person.id, template=template, params=params, at=at)


def _issue_card(decided: Decided, effect: Json) -> None:
    on, city = civil_date(decided.at), city_of(decided.session).code
    held = [
        Entitlement(
            code=str(each["code"]),
            scope_city=city,
            expires_on=entitled_until(decided.person.birth_date, each["until_age"], on),
        )
        for each in effect["entitlements"]
    ]
    for kind in effect["card_kinds"]:
        if cards.live_card(decided.session, decided.person.id, cards.Kind(kind)) is not None:
            continue  # a card that lives is not replaced by applying again
        card = cards.issue(
            decided.session,
            holder_id=decided.person.id,
            kind=str(kind),
            entitlements=held,
            now=decided.at,
            by=decided.by,
        )
        decided.tell(Happened.CARD_ISSUED, card.number)


def _grant_entitlement(decided: Decided, effect: Json) -> None:
    cards.grant_entitlement(
        decided.session,
        holder_id=decided.person.id,
        code=str(effect["entitlement"]),
        scope_city=city_of(decided.session).code,
        expires_on=date(civil_date(decided.at).year + int(effect["years"] or ENTITLED_YEARS), 12, 31),
        now=decided.at,
        by=decided.by,
    )


def _start_allowance(decided: Decided, effect: Json) -> None:
    benefits.start_allowance(
        decided.session,
        holder_id=decided.person.id,
        code=str(effect["allowance"]),
        monthly_minor=int(effect["monthly_minor"]),
        from_month=next_month(civil_date(decided.at)),
        now=decided.at,
        by=decided.by,
    )
    decided.tell(Happened.ALLOWANCE_STARTED)


_EFFECTS: Final = {
    "issue-card": _issue_card,
    "grant-entitlement": _grant_entitlement,
    "start-allowance": _start_allowance,
}


def entitled_until(born: date | None, until_age: int | None, on: date) -> date:
    """The last day of an entitlement: the day before a birthday, or the end of the tenth year."""
    if born is None or until_age is None:
        return date(on.year + ENTITLED_YEARS, 12, 31)
    turned = date.fromordinal(date(born.year + until_age, born.month, 1).toordinal() + born.day - 1)
    return date.fromordinal(turned.toordinal() - 1)


def next_month(on: date) -> date:
    """The first day of the month after ``on``."""
    return date(on.year + on.month // 12, on.month % 12 + 1, 1)


def _officers(session: Session, decision: ApplicationDecision) -> tuple[PersonView, PersonView]:
    assert decision.approved_by is not None, "a decision in force was approved"
    return people.get(session, decision.prepared_by), people.get(session, decision.approved_by)


def letter(
    item: Item,
    found: Application,
    decision: ApplicationDecision,
    person: PersonView,
    *,
    officers: tuple[PersonView, PersonView],
) -> Letter:
    """The decision as a document."""
    approved = decision.outcome == Outcome.APPROVED.value
    says = item.letter.approved if approved else item.letter.refused
    name = Both(en=person.called("en"), zh=person.name)
    facts = [
        (Both(en="Applicant", zh="申请人"), name),
        (Both(en="Identity number", zh="身份证号"), _same(person.identity_masked or "–")),
        (Both(en="Service", zh="办理事项"), Both(en=item.name.en, zh=item.name.zh_Hans_CN)),
        (Both(en="Case number", zh="办件编号"), _same(found.reference)),
        (Both(en="Accepted on", zh="受理日期"), _day(found.accepted_at)),
        (Both(en="Decided on", zh="决定日期"), _day(found.decided_at)),
        *_consequences(decision),
        (Both(en="Deciding department", zh="决定机关"), Both(en=item.department.en, zh=item.department.zh_Hans_CN)),
        (
            Both(en="Prepared by, approved by", zh="承办人、审批人"),
            Both(
                en=", ".join(each.called("en") for each in officers),
                zh="、".join(each.name for each in officers),
            ),
        ),
    ]
    reasons = [_same(decision.reason)] if decision.reason else []
    reasons += [_source(source) for source in item.legal_basis]
    return Letter(
        title=Both(en=item.letter.title.en, zh=item.letter.title.zh_Hans_CN),
        sentence=Both(en=says.en % {"name": name.en}, zh=says.zh_Hans_CN % {"name": name.zh}),
        facts=tuple(facts),
        reasons=tuple(reasons),
        notice=NOTICE,
    )


def _consequences(decision: ApplicationDecision) -> list[tuple[Both, Both]]:
    assert decision.approved_at is not None, "a decision in force was approved"
    first = next_month(civil_date(decision.approved_at))
    return [
        (
            Both(en="Paid each month", zh="每月发放"),
            Both(
                en=f"{major(int(effect['monthly_minor'])):,.2f} yuan from {first:%B %Y}",
                zh=f"自{first.year}年{first.month}月起每月{major(int(effect['monthly_minor'])):,.2f}元",
            ),
        )
        for effect in decision.effects["list"]
        if effect["kind"] == "start-allowance"
    ]


def _same(text: str) -> Both:
    return Both(en=text, zh=text)


def _day(at: datetime | None) -> Both:
    assert at is not None, "a decided case was accepted and decided"
    on = civil_date(at)
    return Both(en=f"{on.day} {on:%B %Y}", zh=f"{on.year}年{on.month}月{on.day}日")


def _source(source: Source) -> Both:
    article_en = f", {source.article.en}" if source.article else ""
    article_zh = f" {source.article.zh_Hans_CN}" if source.article else ""
    return Both(en=source.act.en + article_en, zh=source.act.zh_Hans_CN + article_zh)
