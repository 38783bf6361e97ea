"""The templates of messages and how their blanks are filled. Pure.

A template is a subject, a text and where it leads, as English message ids; the reader's language is chosen when it is read.
Blanks are filled from the message's params by the kind their name tells: ``*_minor`` is an amount in fen, ``*_at`` an instant
(ISO 8601), ``*_on`` a civil date (ISO 8601), an object with ``en`` and ``zh_Hans_CN`` is a text in two languages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from babel.core import Locale
from babel.dates import format_date

from app.kernel import clock
from app.kernel.db import Json
from app.kernel.errors import NotFound, msg
from app.kernel.money import major


class UnknownMessage(NotFound):
    """No such message, or it is somebody else's."""

    code = "unknown-message"
    sentence = msg("We could not find this message.")


@dataclass(frozen=True, kw_only=True)
class Template:
    """``path`` may have blanks of its own, which are filled with the params as they are."""

    subject: str
    text: str
    path: str = ""
    action: str = ""


TEMPLATES: Final[Mapping[str, Template]] = {
    "welcome": Template(
        subject=msg("Welcome"),
        text=msg("Your account is ready. Your card, your services and your messages are in one place from now on."),
        path="/me",
        action=msg("Go to my page"),
    ),
    "top-up-received": Template(
        subject=msg("%(amount)s is on your card"),
        text=msg("Your top-up of %(amount)s arrived on %(settled)s. You can use it at once."),
        path="/me/card",
        action=msg("See the card"),
    ),
    "fee-received": Template(
        subject=msg("Your fee of %(amount)s is paid"),
        text=msg("We received %(amount)s on %(settled)s. Your application goes on without anything further from you."),
        path="/me/payments/%(payment_id)s",
        action=msg("See the receipt"),
    ),
    "payment-refunded": Template(
        subject=msg("%(amount)s is on its way back to you"),
        text=msg("We refunded %(amount)s. Your bank usually shows it within 5 to 10 working days."),
        path="/me/payments/%(payment_id)s",
        action=msg("See the payment"),
    ),
    "purse-expired": Template(
        subject=msg("%(name)s has ended"),
        text=msg(
            "It could be used until %(expires)s. The %(returned)s left in it went back to the fund it came from. "
            "Your own money is untouched."
        ),
        path="/me/card",
        action=msg("See the card"),
    ),
    "ledger-alarm": Template(
        subject=msg("Alarm: the books do not prove"),
        text=msg("The check found something wrong: %(subject)s. It stands until somebody says what was found out and done."),
        path="/staff/ledger/alarms",
        action=msg("See the alarm"),
    ),
    "card-issued": Template(
        subject=msg("Your citizen card is ready"),
        text=msg("Card %(number)s is yours. Open it on your phone and hold the code to a gate."),
        path="/me/card",
        action=msg("Open the card"),
    ),
    "card-blocked": Template(
        subject=msg("Your card is blocked"),
        text=msg("Card %(number)s is blocked. Your money is safe and moves to the next card."),
        path="/me/card",
        action=msg("See the card"),
    ),
    "application-submitted": Template(
        subject=msg("We have your application: %(service)s"),
        text=msg("Number %(number)s. You can follow every step, and we write when something needs you."),
        path="/me/applications/%(application_id)s",
        action=msg("Follow the application"),
    ),
    "application-correction": Template(
        subject=msg("Something is missing: %(service)s"),
        text=msg("The office asks: %(request)s The clock stands still until you answer."),
        path="/me/applications/%(application_id)s",
        action=msg("Answer now"),
    ),
    "application-approved": Template(
        subject=msg("Approved: %(service)s"),
        text=msg("Your application %(number)s is approved. The signed decision is ready for you."),
        path="/me/applications/%(application_id)s",
        action=msg("See the decision"),
    ),
    "application-refused": Template(
        subject=msg("Not approved: %(service)s"),
        text=msg("Your application %(number)s is not approved: %(reason)s You can appeal."),
        path="/me/applications/%(application_id)s",
        action=msg("See the decision"),
    ),
    "benefit-paid": Template(
        subject=msg("%(amount)s is paid to your card"),
        text=msg("%(benefit)s for %(month)s: %(amount)s."),
        path="/me/benefits",
        action=msg("See how it was computed"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Text:
    """A message as its reader sees it."""

    subject: str
    text: str
    path: str
    action: str


def _shown(name: str, value: object, language: str) -> tuple[str, str]:
    """The blank's name in the sentence and what stands there."""
    if isinstance(value, dict):
        return name, str(value.get(language) or value.get("en") or "")
    if name.endswith("_minor") and isinstance(value, int):
        return name.removesuffix("_minor"), f"¥{major(value):,.2f}"
    if name.endswith("_at"):
        return name.removesuffix("_at"), _day(clock.civil_date(datetime.fromisoformat(str(value))), language)
    if name.endswith("_on"):
        return name.removesuffix("_on"), _day(date.fromisoformat(str(value)), language)
    return name, str(value)


def _day(day: date, language: str) -> str:
    return format_date(day, format="d MMMM y" if language == "en" else "long", locale=Locale.parse(language))


def fill(template: Template, params: Json, *, language: str, translate: Callable[[str], str]) -> Text:
    """``template`` in ``language``; ``translate`` turns an English message id into that language."""
    blanks = dict(_shown(name, value, language) for name, value in params.items())
    return Text(
        subject=translate(template.subject) % blanks,
        text=translate(template.text) % blanks,
        path=template.path % params,
        action=translate(template.action) if template.action else "",
    )
