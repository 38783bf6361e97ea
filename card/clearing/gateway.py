"""What clearing says to other cities and to the hub. Every message is idempotent by its content, so it may be sent twice."""

import base64
from uuid import UUID

from app.kernel import clock
from app.kernel.db import Database, Json
from app.kernel.settings import HUB_CODE
from card import partners
from card.clearing import actions, dispute_moves, settlement
from card.clearing.models import FileRow
from card.clearing.rules import ManifestBreak
from card.partners import PartnerRefused

ROOM = "/api/federation/clearing"


def send_file(database: Database, payload: Json) -> None:
    """``file.cut``: the file and its manifest to the issuer."""
    with database.transaction() as session:
        file = session.get_one(FileRow, UUID(payload["file_id"]))
        issuer, state = file.issuer, file.state
        body = {"manifest": file.manifest, "records": base64.b64encode(file.records).decode()}
    if state != "prepared":
        return
    state = "delivered"
    try:
        partners.send(database, issuer, "POST", f"{ROOM}/files", body)
    except PartnerRefused as refusal:
        if refusal.answer_code != ManifestBreak.code:
            raise
        state = "refused"
    with database.transaction() as session:
        file = session.get_one(FileRow, UUID(payload["file_id"]), with_for_update=True)
        if file.state == "prepared":
            file.state = state


def send_result(database: Database, payload: Json) -> None:
    """``file.matched``: what was matched and what was not, to the acquirer."""
    with database.transaction() as session:
        city, body = actions.result_of(session, payload)
    partners.send(database, city, "POST", f"{ROOM}/results", body)


def send_resolution(database: Database, payload: Json) -> None:
    """``break.resolved``: a break that resolved itself."""
    with database.transaction() as session:
        city, body = actions.resolution_of(session, payload)
    partners.send(database, city, "POST", f"{ROOM}/resolutions", body)


def send_position(database: Database, payload: Json) -> None:
    """``position.agreed``: our report of one item, to the hub."""
    with database.transaction() as session:
        body = settlement.position_of(session, payload)
    partners.send(database, HUB_CODE, "POST", f"{ROOM}/positions", body)


def send_move(database: Database, payload: Json) -> None:
    """``dispute.moved``: a move to the other party, and to the hub when it is asked to arbitrate."""
    with database.transaction() as session:
        to, body = dispute_moves.message_of(session, payload)
    for city in to:
        partners.send(database, city, "POST", f"{ROOM}/disputes", body)


def send_instruction(database: Database, payload: Json) -> None:
    """``cycle.instructed``: the hub's instruction to one city, which books it and answers."""
    with database.transaction() as session:
        body = settlement.instruction_of(session, payload)
    partners.send(database, payload["city"], "POST", f"{ROOM}/instructions", body)
    with database.transaction() as session:
        settlement.note_booked(session, cycle=payload["cycle"], city=payload["city"], now=clock.now())


def send_settlement(database: Database, payload: Json) -> None:
    """``cycle.settled``: the bank's confirmation to one city, which books it."""
    with database.transaction() as session:
        body = settlement.settlement_of(session, payload)
    partners.send(database, payload["city"], "POST", f"{ROOM}/settlements", body)
    with database.transaction() as session:
        settlement.note_settled(session, cycle=payload["cycle"], city=payload["city"], now=clock.now())
