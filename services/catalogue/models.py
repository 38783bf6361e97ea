"""Tables: published versions of service items, and the calendar of working days."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json


class ServiceItem(Base):
    """One published version of a service item. Append-only: an application is pinned to the version it began with."""

    __tablename__ = "service_item"
    __table_args__ = (
        PrimaryKeyConstraint("code", "version", name="pk_service_item"),
        CheckConstraint("version > 0", name="version_counts_from_one"),
        {"schema": "services"},
    )

    code: Mapped[str]
    version: Mapped[int]
    digest: Mapped[str]
    definition: Mapped[Json]
    published_at: Mapped[datetime]


class CalendarDay(Base):
    """One civil day of the working calendar. ``certainty`` is ``announced`` or ``predicted``."""

    __tablename__ = "calendar_day"
    __table_args__ = (
        CheckConstraint("certainty IN ('announced', 'predicted')", name="certainty_known"),
        {"schema": "services"},
    )

    day: Mapped[date] = mapped_column(primary_key=True)
    works: Mapped[bool]
    certainty: Mapped[str]
    name_en: Mapped[str]
    name_zh: Mapped[str]
