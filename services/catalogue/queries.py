"""Reading the catalogue and the calendar."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from services.catalogue.clocks import Calendar, Certainty, Day
from services.catalogue.definition import Item
from services.catalogue.models import CalendarDay, ServiceItem
from services.catalogue.rules import NoSuchItem


def items(session: Session) -> list[Item]:
    """The newest version of every service item, by code."""
    rows = session.scalars(
        select(ServiceItem).ext(distinct_on(ServiceItem.code)).order_by(ServiceItem.code, ServiceItem.version.desc())
    )
    return [Item.model_validate(row.definition) for row in rows]


def item(session: Session, code: str, version: int | None = None) -> Item:
    """The item ``code`` in ``version``, or in its newest. Raises :class:`NoSuchItem`."""
    wanted = select(ServiceItem).where(ServiceItem.code == code).order_by(ServiceItem.version.desc()).limit(1)
    if version is not None:
        wanted = wanted.where(ServiceItem.version == version)
    row = session.scalars(wanted).one_or_none()
    if row is None:
        raise NoSuchItem(code)
    return Item.model_validate(row.definition)


def calendar(session: Session) -> Calendar:
    """The working calendar as it is known now."""
    return Calendar(
        Day(day=row.day, works=row.works, certainty=Certainty(row.certainty), name_en=row.name_en, name_zh=row.name_zh)
        for row in session.scalars(select(CalendarDay))
    )
