"""Gates and phones for tests: a terminal that enrols and taps, a rider whose phone signs, both without a screen."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from app.factory import create_app
from app.kernel import clock, ids
from app.kernel.db import Database
from card import cards, credentials, ledger, transit
from card.credentials import CHAIN_START, Decision, Entitlement, Receipt, Tap, TapKind
from card.fares import card_day
from tests.conftest import make_settings

FEEDS = Path(__file__).parents[1] / "app" / "demo" / "feeds"
_boots = count(1)


@dataclass(kw_only=True)
class Phone:
    """A rider's phone with its card."""

    number: str
    holder_id: UUID
    card_id: UUID
    static: bytes
    key: Ed25519PrivateKey
    counter: int = 0

    def show(self, at: datetime, *, counter: int | None = None) -> tuple[bytes, int]:
        """The presentation at ``at`` and its counter."""
        if counter is None:
            self.counter += 1
            counter = self.counter
        return credentials.present(self.static, device=self.key, at=at, counter=counter), counter


def phone(
    session: Session,
    *,
    now: datetime,
    entitlements: tuple[Entitlement, ...] = (),
    money_minor: int = 0,
    holder_id: UUID | None = None,
) -> Phone:
    """A resident's phone card with ``money_minor`` in its purse."""
    card = cards.issue(session, holder_id=holder_id or ids.new_id(), kind="phone", entitlements=entitlements, now=now)
    key = Ed25519PrivateKey.generate()
    static = cards.bind_device(session, card.id, credentials.raw_public(key.public_key()), now)
    if money_minor:
        top_up(session, card.holder_id, money_minor, now=now)
    return Phone(number=card.number, holder_id=card.holder_id, card_id=card.id, static=static, key=key)


def top_up(session: Session, holder_id: UUID, amount_minor: int, *, now: datetime) -> None:
    """Money into a purse."""
    transfer = ledger.Transfer(
        id=ids.new_id(),
        debit=ledger.open_account(session, ledger.chart.stripe_clearing(), now=now),
        credit=ledger.open_account(session, ledger.chart.purse(holder_id), now=now),
        amount_minor=amount_minor,
        code=ledger.TransferCode.TOP_UP,
        event_at=now,
    )
    ledger.post_all(session, [transfer], now=now)


def purse(session: Session, holder_id: UUID) -> int:
    """What the purse holds, in fen."""
    return ledger.balance(session, ledger.account_id(session, ledger.chart.purse(holder_id))).posted_minor


def account(session: Session, spec: ledger.AccountSpec, *, now: datetime) -> int:
    """An account's balance in fen."""
    return ledger.balance(session, ledger.open_account(session, spec, now=now)).posted_minor


@dataclass(kw_only=True)
class Gate:
    """An enrolled terminal that records taps and sends them when told."""

    terminal_id: str
    key: Ed25519PrivateKey
    list_seq: int = 0
    skew_ms: int = 0
    boot_id: str = field(default_factory=lambda: f"boot-{next(_boots)}")
    seq: int = 0
    prev: bytes = CHAIN_START

    def tap(self, rider: Phone, kind: str, at: datetime, *, counter: int | None = None, **changes: object) -> Tap:
        """Let ``rider`` through at ``at`` and record it."""
        self.seq += 1
        qr, shown = rider.show(at, counter=counter)
        facts: dict = {
            "boot_id": self.boot_id,
            "seq": self.seq,
            "kind": TapKind(kind),
            "device_at": int(at.timestamp() * 1000) - self.skew_ms,
            "skew_ms": self.skew_ms,
            "card_number": rider.number,
            "counter": shown,
            "device_kid": credentials.key_id(credentials.raw_public(rider.key.public_key())),
            "decision": Decision.ACCEPTED,
            "reason": "",
            "list_seq": self.list_seq,
            "tariff_version": "",
            "prev": self.prev,
            "qr": qr,
        }
        tap = Tap(**{**facts, **changes})
        self.prev = tap.digest()
        return tap

    def send(self, session: Session, taps: list[Tap], *, now: datetime) -> Receipt:
        """Upload ``taps`` without HTTP."""
        body = credentials.encode_batch(self.terminal_id, taps)
        return transit.receive(session, terminal_id=UUID(self.terminal_id), body=body, proof="test", now=now)


def import_feed(session: Session, city: str, *, now: datetime) -> transit.Imported:
    """The demonstration feed of ``city``."""
    return transit.import_feed(session, FEEDS / city, feed_id=city, by="system", now=now)


def travelling(database: Database, url: str, folder: Path, *, code: str, now: datetime) -> Database:
    """``database`` made the city ``code``, with its demonstration feed."""
    create_app(make_settings(url, folder, city_code=code), database=database)
    with database.transaction() as session:
        import_feed(session, code, now=now)
    return database


def gate(session: Session, operator: str, *, stop: str = "", line: str = "", mode: str = "both", now: datetime) -> Gate:
    """An enrolled terminal of ``operator``."""
    key = Ed25519PrivateKey.generate()
    token = transit.create_enrolment(
        session, operator_id=operator, stop_id=stop, line_id=line, mode=mode, by="person:test", now=now
    )
    done = transit.enrol(
        session, token=token.token, public_key=credentials.raw_public(key.public_key()), software="test 1", now=now
    )
    return Gate(terminal_id=str(done.terminal_id), key=key)


def minutes(number: float) -> timedelta:
    """A length of time."""
    return timedelta(minutes=number)


def in_one_card_day(begun: datetime, length: timedelta) -> datetime:
    """``begun``, or ``length`` earlier where the card-day's end (three at night in China) would part what follows."""
    return begun if card_day(begun) == card_day(begun + length) else begun - length


def books_are_right(database: Database) -> bool:
    """Whether every balance is the sum of its entries and everything sums to zero."""
    with database.transaction() as session:
        return ledger.check_books(session).right


def some_rides(database: Database, holder: UUID) -> Phone:
    """A Nanjing resident past sixty: a whole journey whose exit arrived first, a bus ride, and a journey without its exit."""
    now = clock.now()
    with database.transaction() as session:
        import_feed(session, "320100", now=now)
        senior = Entitlement(code="senior-60", scope_city="320100", expires_on=now.date() + timedelta(days=400))
        begun = in_one_card_day(now - timedelta(hours=4), minutes(90))
        card = cards.issue(session, holder_id=holder, kind="phone", entitlements=(senior,), now=begun)
        key = Ed25519PrivateKey.generate()
        static = cards.bind_device(session, card.id, credentials.raw_public(key.public_key()), begun)
        phone = Phone(number=card.number, holder_id=holder, card_id=card.id, static=static, key=key)
        top_up(session, holder, 5000, now=begun)
        a, b = (gate(session, "nj-metro", stop=stop, now=now) for stop in ("nj-gulou", "nj-xianlin"))
        bus = gate(session, "nj-bus", line="nj-bus-you2", mode="ride", now=now)
        b.send(session, [b.tap(phone, "exit", begun + timedelta(minutes=45))], now=now)
        a.send(session, [a.tap(phone, "entry", begun + timedelta(minutes=1))], now=now + timedelta(seconds=1))
        bus.send(session, [bus.tap(phone, "ride", begun + timedelta(minutes=60))], now=now)
        a.send(session, [a.tap(phone, "entry", begun + timedelta(minutes=90))], now=now)
    return phone
