"""Event → action, in one table. *Down by call, up by event*: a floor never calls a floor above it; it emits, and this maps.

Each entry is ``"noun.happened": handler`` with ``handler(session, payload)`` in a door of a package. A test holds that every
event emitted anywhere has a handler here and that every handler here is emitted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Database, Json, Right
from app.kernel.outbox import Courier, Handler
from app.kernel.settings import Settings
from app.web.auth import Role
from card import cards, clearing, ledger, transit
from card.cards import jobs as cards_jobs
from card.clearing import jobs as clearing_jobs
from card.health import jobs as health_jobs
from card.ledger import jobs as ledger_jobs
from card.partners import jobs as partners_jobs
from card.transit import jobs as transit_jobs
from services import applications, messages, payments, people
from services.catalogue import jobs as catalogue_jobs
from services.payments import jobs as payments_jobs


def _on_payment_settled(session: Session, payload: Json) -> None:
    """The payer is told, what they owe for rides is taken from a top-up, and the application whose fee it was goes on."""
    payments.on_settled(session, payload)
    transit.on_payment_settled(session, payload)
    applications.mark_paid(session, payload)


def _on_ledger_alarm(session: Session, payload: Json) -> None:
    """Whoever runs the city or audits it is told that something is wrong with the books."""
    for person_id in people.with_role(session, Role.SUPERVISOR, Role.ADMINISTRATOR, Role.AUDITOR):
        params = {"subject": payload["subject"]}
        messages.send(session, person_id=person_id, template="ledger-alarm", params=params, at=clock.now())


def _on_purse_expired(session: Session, payload: Json) -> None:
    """The holder is told that an earmarked purse ended, and where its rest went."""
    params = {name: payload[name] for name in ("name", "returned_minor", "expires_at")}
    messages.send(session, person_id=UUID(payload["holder_id"]), template="purse-expired", params=params, at=clock.now())


HANDLERS: Final[dict[str, Handler]] = {
    "application.approved": applications.carry_out,
    "application.refused": applications.carry_out,
    "card.issued": cards.on_card_issued,
    "card.blocked": cards.on_card_blocked,
    "card.unblocked": cards.on_card_blocked,
    "debit.foreign": clearing.note_debit,
    "ledger.alarm-raised": _on_ledger_alarm,
    "payment.settled": _on_payment_settled,
    "purse.expired": _on_purse_expired,
    "charge.foreign": clearing.note_charge,
    "taps.alarmed": transit.on_taps_alarmed,
    "file.received": clearing.match_file,
    "transfer.left-shard": ledger.arrive,
}

COURIERS: Final[dict[str, Courier]] = {
    "break.resolved": clearing.send_resolution,
    "cycle.instructed": clearing.send_instruction,
    "cycle.settled": clearing.send_settlement,
    "dispute.moved": clearing.send_move,
    "file.cut": clearing.send_file,
    "file.matched": clearing.send_result,
    "message.written": messages.mail,
    "presentment.written": transit.send_presentment,
    "refund.requested": payments.send_refund,
    "position.agreed": clearing.send_position,
}  # these speak to the network, outside any transaction


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something the worker repeats: ``run(database, settings)`` every ``every_seconds``; each run is idempotent.

    ``database`` is the city's as those see it who live as ``right``. What ends or closes things ``by_the_clock`` is left out
    while this process's clock is far from the database's.
    """

    name: str
    every_seconds: int
    run: Callable[[Database, Settings], None]
    right: Right = Right.APPLICATION
    by_the_clock: bool = False


JOBS: Final[tuple[Job, ...]] = (
    Job(name="cards.keep", every_seconds=60, run=cards_jobs.keep, by_the_clock=True),
    Job(name="catalogue.load", every_seconds=86_400, run=catalogue_jobs.load),
    Job(name="health.filings", every_seconds=3600, run=health_jobs.expire_filings, by_the_clock=True),
    Job(name="health.settlements", every_seconds=30, run=health_jobs.resume_settlements),
    Job(name="ledger.check", every_seconds=600, run=ledger_jobs.check),
    Job(name="ledger.clocks", every_seconds=15, run=ledger_jobs.watch_clocks),
    Job(name="ledger.holds", every_seconds=15, run=ledger_jobs.expire_holds, by_the_clock=True),
    Job(name="ledger.purses", every_seconds=60, run=ledger_jobs.expire_purses, by_the_clock=True),
    Job(name="ledger.seal", every_seconds=3, run=ledger_jobs.seal, right=Right.SEALER),
    Job(name="ledger.seal-stragglers", every_seconds=3_600, run=ledger_jobs.seal_stragglers, right=Right.SEALER),
    Job(name="ledger.fold", every_seconds=5, run=ledger_jobs.fold, right=Right.SEALER),
    Job(name="ledger.months", every_seconds=86_400, run=ledger_jobs.make_months),
    Job(name="payments.catch-up", every_seconds=300, run=payments_jobs.catch_up),
    Job(name="clearing.close", every_seconds=600, run=clearing_jobs.close_day, by_the_clock=True),
    Job(name="partners.directory", every_seconds=30, run=partners_jobs.keep_directory),
    Job(name="partners.witness", every_seconds=60, run=partners_jobs.witness_ledgers),
    Job(name="transit.debts", every_seconds=15, run=transit_jobs.recover_debts),
    Job(name="transit.shares", every_seconds=3_600, run=transit_jobs.apportion_days),
    Job(name="transit.habits", every_seconds=3_600, run=transit_jobs.complete_from_habit),
    Job(name="transit.what-ifs", every_seconds=3, run=transit_jobs.price_what_ifs),
    Job(name="transit.partner-lists", every_seconds=60, run=transit_jobs.fetch_partner_lists),
)
