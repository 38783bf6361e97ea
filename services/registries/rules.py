"""Why somebody may look at a resident's data: the purposes, each with its legal basis. Pure.

The law is the Personal Information Protection Law of the People's Republic of China (个人信息保护法, 2021; PIPL): Article 13
lists the bases, Article 34 binds state organs to their statutory duties, Article 44 and 45 give the resident the right to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.kernel.errors import Invalid, msg


class Purpose(StrEnum):
    """What a look-up is for."""

    CASE_WORK = "case-work"
    COUNTER_SERVICE = "counter-service"
    CARD_SERVICE = "card-service"
    BENEFIT_PAYMENT = "benefit-payment"
    COMPLAINT = "complaint"


@dataclass(frozen=True, kw_only=True)
class Basis:
    """A purpose in words, and the law that allows it (message ids)."""

    label: str
    law: str


BASES: Final[Mapping[Purpose, Basis]] = {
    Purpose.CASE_WORK: Basis(label=msg("Handling an application"), law=msg("PIPL, Articles 13(3) and 34: a statutory duty")),
    Purpose.COUNTER_SERVICE: Basis(
        label=msg("Helping you at a service desk"), law=msg("PIPL, Article 13(1): at your own request")
    ),
    Purpose.CARD_SERVICE: Basis(
        label=msg("Serving your card"), law=msg("PIPL, Article 13(2): needed for the contract of the card")
    ),
    Purpose.BENEFIT_PAYMENT: Basis(
        label=msg("Computing or paying a benefit"), law=msg("Social Insurance Law, Article 74; PIPL, Article 13(3)")
    ),
    Purpose.COMPLAINT: Basis(
        label=msg("Answering a complaint or an appeal"), law=msg("PIPL, Articles 13(3) and 34: a statutory duty")
    ),
}


class PurposeMissing(Invalid):
    """A look-up without a purpose from the list, or without the case that it belongs to."""

    code = "purpose-missing"
    sentence = msg("Say what you need this person's data for. The person sees it.")


def purpose(text: str) -> Purpose:
    """``text`` as a purpose. Raises :class:`PurposeMissing` naming the field."""
    try:
        return Purpose(text)
    except ValueError as error:
        raise PurposeMissing(text, fields={"purpose": PurposeMissing.sentence}) from error


def reference(text: str) -> str:
    """What the look-up belongs to: a case number, a ticket, a few words. Raises :class:`PurposeMissing` naming the field."""
    found = " ".join(text.split())[:120]
    if not found:
        raise PurposeMissing("reference", fields={"reference": msg("Enter the case number, or a few words.")})
    return found
