"""``/hub``: the province's own pages: positions of the cities, settlement cycles by two persons, the directory and its keys."""

from typing import Final

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.kernel import clock
from app.web.auth import Role, allow, principal
from app.web.db import transaction
from app.web.i18n import translate
from card import clearing, partners
from card.clearing import CycleState
from card.partners import State
from portal.kit import clearing as words
from portal.kit.clearing import Names

blueprint = Blueprint("hub", __name__, url_prefix="/hub")
STAFF: Final = (Role.OFFICER, Role.SUPERVISOR, Role.ADMINISTRATOR)
APPROVERS: Final = (Role.SUPERVISOR, Role.ADMINISTRATOR)


@blueprint.get("")
@allow(*STAFF)
def index() -> str:
    """Who owes whom: agreed positions as a matrix, what only one side reported, the cycles, what to arbitrate."""
    with transaction() as session:
        names = Names(session=session)
        items = clearing.items(session)
        cities = [(city.code, names.city(city.code)) for city in partners.cities(session)]
        matrix: dict[tuple[str, str], int] = {}
        for item in items:
            if item.agreed:
                pair = (item.issuer, item.acquirer)
                matrix[pair] = matrix.get(pair, 0) + (item.issuer_minor or 0)
        return render_template(
            "hub/index.html",
            cities=cities,
            matrix=matrix,
            owed=sum(amount for amount in matrix.values()),
            one_sided=[(item, names.city(item.issuer), names.city(item.acquirer)) for item in items if not item.agreed],
            cycles=[
                (cycle, words.tagged(words.CYCLE_STATES, cycle.state), names.actor(cycle.prepared_by))
                for cycle in clearing.cycles(session)
            ],
            disputes=[words.dispute_row(names, item) for item in clearing.disputes(session)],
        )


@blueprint.post("/cycles")
@allow(*STAFF)
def prepare() -> Response:
    """Net everything that both sides agree on."""
    with transaction() as session:
        number = clearing.prepare_cycle(session, by=principal().actor, now=clock.now())
    flash(translate("The cycle is prepared. A second person has to approve it."), "success")
    return redirect(url_for("hub.cycle", number=number))


@blueprint.get("/cycles/<int:number>")
@allow(*STAFF)
def cycle(number: int) -> str:
    """A cycle: gross and net, fees, caps, what each city pays or receives, and how far each is."""
    with transaction() as session:
        names = Names(session=session)
        found = clearing.cycle(session, number)
        caps = {member.city: member for member in clearing.members(session)}
        return render_template(
            "hub/cycle.html",
            cycle=found,
            state=words.tagged(words.CYCLE_STATES, found.state),
            pairs=[(names.city(pair["issuer"]), names.city(pair["acquirer"]), pair) for pair in found.figures["pairs"]],
            bilateral=[
                (names.city(line["payer"]), names.city(line["receiver"]), line["amount_minor"])
                for line in found.figures["bilateral"]
            ],
            finals=[
                (code, names.city(code), found.figures["multilateral"][code], amount, caps.get(code), found.calls.get(code, 0))
                for code, amount in sorted(found.figures["finals"].items())
            ],
            instructions=[
                (item, names.city(item.city), words.tagged(words.INSTRUCTION_STATES, item.state)) for item in found.instructions
            ],
            prepared_by=names.actor(found.prepared_by),
            approved_by=names.actor(found.approved_by),
            settled_by=names.actor(found.settled_by),
            mine=found.prepared_by == principal().actor,
            approver=bool(principal().roles & set(APPROVERS)),
            all_booked=bool(found.instructions) and all(item.state != "sent" for item in found.instructions),
        )


@blueprint.post("/cycles/<int:number>/approval")
@allow(*APPROVERS)
def approve(number: int) -> Response:
    """A second person approves; over a cap a funding call follows and nothing is instructed."""
    with transaction() as session:
        state = clearing.approve_cycle(session, number=number, by=principal().actor, now=clock.now())
    if state is CycleState.FUNDING_CALL:
        flash(translate("A city is over its cap. It was called for funds; nothing is instructed."), "error")
    else:
        flash(translate("Instructed. Each city books its part."), "success")
    return redirect(url_for("hub.cycle", number=number))


@blueprint.post("/cycles/<int:number>/suspension")
@allow(*APPROVERS)
def suspend(number: int) -> Response:
    """Set a cycle aside; what it held goes into the next."""
    with transaction() as session:
        clearing.suspend_cycle(session, number=number, by=principal().actor, now=clock.now())
    flash(translate("Set aside. What it held goes into the next cycle."), "success")
    return redirect(url_for("hub.cycle", number=number))


@blueprint.post("/cycles/<int:number>/settlement")
@allow(*STAFF)
def settle(number: int) -> Response:
    """The settlement bank confirmed every payment."""
    with transaction() as session:
        clearing.settle_cycle(session, number=number, by=principal().actor, now=clock.now())
    flash(translate("Settled. The cities are told."), "success")
    return redirect(url_for("hub.cycle", number=number))


@blueprint.post("/members/<code>/funds")
@allow(*STAFF)
def fund(code: str) -> Response:
    """Note that a city funded beyond its cap."""
    amount = words.fen(request.form.get("amount", ""), field="amount")
    with transaction() as session:
        clearing.fund(session, city=code, amount_minor=amount, by=principal().actor, now=clock.now())
    flash(translate("The funds are noted."), "success")
    return redirect(url_for("hub.directory"))


@blueprint.post("/members/<code>/cap")
@allow(*APPROVERS)
def cap(code: str) -> Response:
    """Set a city's net debit cap."""
    amount = words.fen(request.form.get("amount", ""), field="amount")
    with transaction() as session:
        clearing.set_cap(session, city=code, cap_minor=amount, by=principal().actor, now=clock.now())
    flash(translate("The cap is set."), "success")
    return redirect(url_for("hub.directory"))


@blueprint.get("/directory")
@allow(*STAFF)
def directory() -> str:
    """The cities, their addresses and keys, and who asks to join."""
    with transaction() as session:
        names = Names(session=session)
        return render_template(
            "hub/directory.html",
            entries=[
                (
                    entry,
                    names.city(entry.city.code),
                    words.tagged(words.PARTNER_STATES, entry.state),
                    names.actor(entry.decided_by),
                )
                for entry in partners.directory(session)
            ],
            members=[(member, names.city(member.city)) for member in clearing.members(session)],
            exchanges=[(item, names.city(item.city)) for item in partners.exchanges(session, limit=20)],
            approver=bool(principal().roles & set(APPROVERS)),
        )


@blueprint.post("/directory/<code>")
@allow(*APPROVERS)
def decide(code: str) -> Response:
    """Admit, refuse or suspend a city."""
    act = {State.ADMITTED: partners.admit, State.REFUSED: partners.refuse, State.SUSPENDED: partners.suspend}
    with transaction() as session:
        act[State(request.form.get("decision", ""))](session, code=code, by=principal().actor, now=clock.now())
    flash(translate("The directory is changed. The cities learn it within a minute."), "success")
    return redirect(url_for("hub.directory"))
