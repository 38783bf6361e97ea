"""Publishing items and keeping the calendar."""

import hashlib
import json
from datetime import datetime
from pathlib import Path

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.catalogue import gateway
from services.catalogue.definition import Item
from services.catalogue.models import CalendarDay, ServiceItem
from services.catalogue.rules import ItemChanged

FIRST_YEAR = 2024


def publish(session: Session, item: Item, *, now: datetime) -> None:
    """Publish one version of an item. A repeat is quiet; other content under a published version is refused."""
    definition = item.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    row = {
        "code": item.code,
        "version": item.version,
        "digest": digest,
        "definition": definition,
        "published_at": now,
    }
    session.execute(insert(ServiceItem).values(row).on_conflict_do_nothing())
    if session.get_one(ServiceItem, (item.code, item.version)).digest != digest:
        raise ItemChanged(item=item.code, version=item.version)


def load(session: Session, *, now: datetime, folder: Path = gateway.ITEMS) -> None:
    """Publish every definition file and bring the calendar up to date: what is announced replaces what was predicted."""
    for item in gateway.definitions(folder):
        publish(session, item, now=now)
    rows = [
        {
            "day": day.day,
            "works": day.works,
            "certainty": day.certainty.value,
            "name_en": day.name_en,
            "name_zh": day.name_zh,
        }
        for day in gateway.days(FIRST_YEAR)
    ]
    upsert = insert(CalendarDay)
    changed = {column: upsert.excluded[column] for column in ("works", "certainty", "name_en", "name_zh")}
    session.execute(
        upsert.on_conflict_do_update(
            index_elements=["day"],
            set_=changed,
            where=(upsert.excluded.certainty == "announced") | (CalendarDay.certainty == "predicted"),
        ),
        rows,
    )
