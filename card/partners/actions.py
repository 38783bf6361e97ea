"""Admitting cities, renewing what is known of them, and remembering nonces."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.kernel import audit
from app.kernel.signing import Purpose
from card.partners import identity, rules
from card.partners.identity import Identity
from card.partners.models import Nonce, Partner
from card.partners.rules import CodeTaken, Entity, MessageReplayed, NoSuchPartner, NotTheHub, State


def own_configuration(own: Identity, *, now: datetime) -> str:
    """Our own self-signed entity configuration."""
    return rules.configuration(
        entity_id=own.url,
        code=own.code,
        names=(own.name_en, own.name_zh),
        hub_url=own.hub_url,
        federation=own.key(Purpose.FEDERATION),
        card_issuer=own.key(Purpose.CARD_ISSUER),
        bundle=own.key(Purpose.BUNDLE),
        now=now,
    )


def statement_about(session: Session, *, entity_id: str, now: datetime) -> str:
    """The hub's signed statement about an admitted city; raises :class:`NoSuchPartner`."""
    own = _hub(session)
    row = session.scalars(select(Partner).where(Partner.entity_id == entity_id, Partner.state == State.ADMITTED)).one_or_none()
    if row is None:
        raise NoSuchPartner(entity_id)
    return rules.subordinate_statement(
        hub=own.key(Purpose.FEDERATION), hub_url=own.url, entity_id=entity_id, jwks=row.jwks, policy=row.policy, now=now
    )


def request_join(session: Session, *, configuration: str, now: datetime) -> State:
    """Take a city's request at the hub; answer its state.

    A city that is already admitted and signs with a key we hold renews its entry at once: keys rotate without a meeting.
    Anybody else waits for a person at the hub. Raises :class:`StatementRefused`, ``BadSignature``, :class:`CodeTaken`.
    """
    own = _hub(session)
    entity = rules.read_configuration(configuration, now=now)
    if entity.code == own.code:
        raise CodeTaken("the hub's own code")
    row = session.scalars(select(Partner).where(Partner.code == entity.code).with_for_update()).one_or_none()
    if row is None:
        session.add(
            Partner(
                code=entity.code,
                policy=rules.admission_policy(entity.code),
                state=State.REQUESTED,
                requested_at=now,
                statement=None,
                decided_at=None,
                decided_by=None,
                **_facts(entity, now=now),
            )
        )
        session.flush()
        return State.REQUESTED
    state = State(row.state)
    if state in (State.ADMITTED, State.SUSPENDED):
        if entity.signed_by not in rules.keys_of(row.jwks):
            raise CodeTaken(f"{entity.code} is admitted with other keys")
        _write(row, entity, now=now)
        return state
    if state is not State.REQUESTED:
        row.state = rules.move(state, State.REQUESTED)
    row.requested_at = now
    _write(row, entity, now=now)
    return State.REQUESTED


def renew(session: Session, *, code: str, configuration: str, now: datetime) -> None:
    """Refresh an admitted city at the hub from the configuration it publishes, signed by a key the hub holds."""
    row = session.get_one(Partner, code, with_for_update=True)
    entity = rules.read_configuration(configuration, now=now, signers=rules.keys_of(row.jwks))
    if (entity.code, entity.entity_id) != (row.code, row.entity_id):
        raise CodeTaken(f"{row.entity_id} now answers for {entity.code}")
    _write(row, entity, now=now)


def admit(session: Session, *, code: str, by: str, now: datetime) -> None:
    """Admit a city whose request waits (or was suspended). ``by`` is the actor of the audit trail. Quiet when repeated."""
    _decide(session, code=code, new=State.ADMITTED, by=by, now=now)


def refuse(session: Session, *, code: str, by: str, now: datetime) -> None:
    """Refuse a city's request."""
    _decide(session, code=code, new=State.REFUSED, by=by, now=now)


def suspend(session: Session, *, code: str, by: str, now: datetime) -> None:
    """Take an admitted city out of the list until it is admitted again: its messages are no longer believed anywhere."""
    _decide(session, code=code, new=State.SUSPENDED, by=by, now=now)


def withdraw(session: Session, *, code: str, by: str, now: datetime) -> None:
    """Take a city out of the registry until it asks to join again, as one does that lost its federation key."""
    _decide(session, code=code, new=State.WITHDRAWN, by=by, now=now)


def _decide(session: Session, *, code: str, new: State, by: str, now: datetime) -> None:
    _hub(session)
    row = session.get(Partner, code, with_for_update=True)
    if row is None:
        raise NoSuchPartner(code)
    if row.state == new:
        return
    row.state = rules.move(State(row.state), new)
    row.decided_at, row.decided_by = now, by
    audit.record(session, actor=by, action=f"partner.{new}", subject=f"city:{code}", at=now, details={"keys": row.jwks})


def store_resolved(
    session: Session, resolved: Sequence[tuple[Entity, str | None, datetime]], *, listed: Sequence[str], now: datetime
) -> None:
    """Write the verified chains into a city's directory; withdraw whom the hub no longer lists."""
    for entity, statement, until in sorted(resolved, key=lambda item: item[0].code):
        row = session.get(Partner, entity.code, with_for_update=True)
        facts = {**_facts(entity, now=now), "expires_at": until}
        if row is None:
            row = Partner(code=entity.code, policy={}, requested_at=now, decided_at=now, decided_by=None, **facts)
            session.add(row)
        for name, value in facts.items():
            setattr(row, name, value)
        row.state, row.statement = State.ADMITTED, statement
    for row in session.scalars(select(Partner).where(Partner.entity_id.not_in(listed), Partner.state == State.ADMITTED)):
        row.state = State.WITHDRAWN
    session.flush()


def remember_nonce(session: Session, *, city: str, nonce: str, expires_at: datetime) -> None:
    """Note a nonce until its signature expires; raises :class:`MessageReplayed` where it was noted before."""
    noted = session.scalars(
        insert(Nonce)
        .values(city=city, nonce=nonce, expires_at=expires_at + 2 * rules.CLOCK_SKEW)
        .on_conflict_do_nothing()
        .returning(Nonce.nonce)
    ).one_or_none()
    if noted is None:
        raise MessageReplayed(nonce)


def forget_nonces(session: Session, *, now: datetime) -> None:
    """Drop nonces whose signatures have expired."""
    session.execute(delete(Nonce).where(Nonce.expires_at < now))


def _hub(session: Session) -> Identity:
    own = identity.of_session(session)
    if not own.is_hub:
        raise NotTheHub
    return own


def _facts(entity: Entity, *, now: datetime) -> dict[str, object]:
    return {
        "entity_id": entity.entity_id,
        "name_en": entity.name_en,
        "name_zh": entity.name_zh,
        "jwks": entity.jwks,
        "issuer_jwks": entity.issuer_jwks,
        "bundle_jwks": entity.bundle_jwks,
        "configuration": entity.configuration,
        "resolved_at": now,
        "expires_at": entity.expires_at,
    }


def _write(row: Partner, entity: Entity, *, now: datetime) -> None:
    for name, value in _facts(entity, now=now).items():
        setattr(row, name, value)
