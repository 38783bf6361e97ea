"""The tables of transit. Taps, uploads, alarms and fare postings are append-only for the application's role."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    Numeric,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.db import Base, Json, refuse_on_constraint
from app.kernel.ids import new_id
from card.transit.rules import PresentmentConflict


class FeedImport(Base):
    """One import of a feed, kept whole: its files are what an export gives back."""

    __tablename__ = "feed_import"
    __table_args__ = (UniqueConstraint("feed_id", "digest"), {"schema": "card"})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    feed_id: Mapped[str]
    digest: Mapped[str]
    imported_at: Mapped[datetime]
    imported_by: Mapped[str]


class FeedFile(Base):
    """One file of an import, byte for byte."""

    __tablename__ = "feed_file"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    feed_import_id: Mapped[UUID] = mapped_column(ForeignKey("card.feed_import.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class OperatorRow(Base):
    """A transit operator: an agency of a feed."""

    __tablename__ = "operator"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    id: Mapped[str] = mapped_column(primary_key=True)
    feed_id: Mapped[str]
    name_en: Mapped[str]
    name_zh: Mapped[str]
    open_when_stale: Mapped[bool] = mapped_column(default=False)


class StopRow(Base):
    """A stop or station (WGS 84)."""

    __tablename__ = "stop"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    id: Mapped[str] = mapped_column(primary_key=True)
    feed_id: Mapped[str]
    name_en: Mapped[str]
    name_zh: Mapped[str]
    latitude: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    longitude: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))


class LineRow(Base):
    """A line with its stops in order: ``path`` is ``[[stop id, km or null], ...]``."""

    __tablename__ = "line"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    id: Mapped[str] = mapped_column(primary_key=True)
    feed_id: Mapped[str]
    operator_id: Mapped[str] = mapped_column(ForeignKey("card.operator.id"))
    name_en: Mapped[str]
    name_zh: Mapped[str]
    color: Mapped[str]
    rail: Mapped[bool]
    path: Mapped[Json]


class TariffRow(Base):
    """A version of an operator's tariff. What it says is in the files of its import and never changes."""

    __tablename__ = "tariff"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    operator_id: Mapped[str] = mapped_column(ForeignKey("card.operator.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    feed_import_id: Mapped[UUID] = mapped_column(ForeignKey("card.feed_import.id"))
    digest: Mapped[str]
    effective_from: Mapped[date] = mapped_column(Date)
    effective_until: Mapped[date | None] = mapped_column(Date)
    name_en: Mapped[str]
    name_zh: Mapped[str]
    secondary_source: Mapped[bool]
    source: Mapped[str]


class Enrolment(Base):
    """A one-time token for one terminal; only its hash is kept."""

    __tablename__ = "enrolment"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        CheckConstraint("mode IN ('entry', 'exit', 'both', 'ride')", name="mode"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)
    operator_id: Mapped[str] = mapped_column(ForeignKey("card.operator.id"))
    stop_id: Mapped[str]
    line_id: Mapped[str]
    mode: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    terminal_id: Mapped[UUID | None]


class TerminalRow(Base):
    """An enrolled terminal. ``list_seq`` and ``skew_ms`` are as it last reported them."""

    __tablename__ = "terminal"
    __table_args__ = (
        Index("ix_terminal_operator_id", "operator_id", "id"),
        CheckConstraint("mode IN ('entry', 'exit', 'both', 'ride')", name="mode"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    operator_id: Mapped[str] = mapped_column(ForeignKey("card.operator.id"))
    stop_id: Mapped[str]
    line_id: Mapped[str]
    mode: Mapped[str]
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    software: Mapped[str]
    certificate: Mapped[bytes] = mapped_column(LargeBinary)
    previous_key: Mapped[bytes | None] = mapped_column(LargeBinary)  # after a renewal, until the new key was used
    renewed_at: Mapped[datetime | None]
    enrolled_at: Mapped[datetime]
    certificate_until: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_seen_at: Mapped[datetime | None]
    synced_at: Mapped[datetime | None]
    list_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    skew_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    last_tap_at: Mapped[datetime | None]


class TerminalNonce(Base):
    """A proof's nonce; the same again before it expires is a replayed request."""

    __tablename__ = "terminal_nonce"
    __table_args__ = (Index("ix_terminal_nonce_expires_at", "expires_at"), {"schema": "card"})

    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("card.terminal.id"), primary_key=True)
    nonce: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    expires_at: Mapped[datetime]


class TerminalBoot(Base):
    """What has been received of one run of a terminal: everything up to ``highest`` but the ``gaps`` (inclusive pairs)."""

    __tablename__ = "terminal_boot"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("card.terminal.id"), primary_key=True)
    boot_id: Mapped[str] = mapped_column(primary_key=True)
    highest: Mapped[int] = mapped_column(BigInteger, default=0)
    gaps: Mapped[Json]


class TapUpload(Base):
    """One signed batch: the proof is the terminal's signature over the body whose digest is kept.

    ``xact`` is the number of the transaction that stored it, by which live pages tell what they have not shown yet.
    """

    __tablename__ = "tap_upload"
    __table_args__ = (Index("ix_tap_upload_xact", "xact"), {"schema": "card"})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("card.terminal.id"))
    received_at: Mapped[datetime]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    proof: Mapped[str]
    taps: Mapped[int]
    xact: Mapped[int | None] = mapped_column(BigInteger, server_default=text("pg_current_xact_id()::text::bigint"))


class TapRow(Base):
    """One tap as received.

    ``decision`` is what the gate did; ``verdict`` why it should have refused, empty when it was right. Terminal and upload are
    no foreign keys: the batch that names them holds both, and asking again for each tap costs more than storing it.
    """

    __tablename__ = "tap"
    __table_args__ = (
        Index("ix_tap_card_number", "card_number", "card_day"),
        Index("ix_tap_operator_id", "operator_id", "received_at"),
        CheckConstraint("decision IN ('accepted', 'refused')", name="decision"),
        {"schema": "card"},
    )

    terminal_id: Mapped[UUID] = mapped_column(primary_key=True)
    boot_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    upload_id: Mapped[UUID]
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    prev: Mapped[bytes] = mapped_column(LargeBinary)
    kind: Mapped[str]
    device_at: Mapped[datetime]
    skew_ms: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    card_day: Mapped[date] = mapped_column(Date)
    card_number: Mapped[str]
    issuer: Mapped[str]
    counter: Mapped[int] = mapped_column(BigInteger)
    device_kid: Mapped[bytes] = mapped_column(LargeBinary)
    status_index: Mapped[int] = mapped_column(BigInteger)
    entitlements: Mapped[Json]
    decision: Mapped[str]
    reason: Mapped[str]
    verdict: Mapped[str]
    list_seq: Mapped[int] = mapped_column(BigInteger)
    tariff_version: Mapped[str]
    qr: Mapped[bytes] = mapped_column(LargeBinary)
    operator_id: Mapped[str]
    stop_id: Mapped[str]
    line_id: Mapped[str]
    liability: Mapped[str]
    quarantined: Mapped[bool]


class FareCard(Base):
    """A card that has travelled here: who holds this row locked prices it alone. ``last_day`` is its latest card-day.

    ``past`` is what the days before ``past_until`` left for caps and month tickets, folded (:mod:`card.transit.past`).
    """

    __tablename__ = "fare_card"
    __table_args__ = (CheckConstraint("(past IS NULL) = (past_until IS NULL)", name="past"), {"schema": "card"})

    card_number: Mapped[str] = mapped_column(primary_key=True)
    last_day: Mapped[date | None] = mapped_column(Date)
    past_until: Mapped[date | None] = mapped_column(Date)
    past: Mapped[str | None]


class TapAlarm(Base):
    """Something about a terminal's records that somebody must look at. Never an overwrite."""

    __tablename__ = "tap_alarm"
    __table_args__ = (Index("ix_tap_alarm_operator_id", "operator_id", "id"), {"schema": "card"})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime]
    operator_id: Mapped[str]
    terminal_id: Mapped[UUID] = mapped_column(ForeignKey("card.terminal.id"))
    boot_id: Mapped[str]
    seq: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    details: Mapped[Json]


class JourneyRow(Base):
    """A journey as priced now, replaced when a later pricing of its card-day says otherwise; the postings are what stays.

    The id comes from card and first tap, so it is also what keeps a journey from being there twice. ``mark`` is a digest of
    what the row says: a pricing that comes to the same writes nothing.
    """

    __tablename__ = "journey"
    __table_args__ = (
        Index("ix_journey_card_number", "card_number", "card_day"),
        Index("ix_journey_operator_id", "operator_id", "card_day"),
        Index("ix_journey_holder_id", "holder_id", "started_at"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str]
    card_number: Mapped[str]
    holder_id: Mapped[UUID | None]
    issuer: Mapped[str]
    card_day: Mapped[date] = mapped_column(Date)
    operator_id: Mapped[str]
    line_id: Mapped[str]
    state: Mapped[str]
    from_stop: Mapped[str | None]
    to_stop: Mapped[str | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    km: Mapped[Decimal | None] = mapped_column(Numeric(9, 3))
    tariff_id: Mapped[str | None]
    capped_minor: Mapped[int] = mapped_column(BigInteger)
    charged_minor: Mapped[int] = mapped_column(BigInteger)
    steps: Mapped[Json]
    taps: Mapped[list[str]]
    mark: Mapped[int] = mapped_column(BigInteger)
    priced_at: Mapped[datetime]


class FarePosting(Base):
    """What one pricing of a card-day changed in the ledger for one operator; ``amount_minor`` may be negative."""

    __tablename__ = "fare_posting"
    __table_args__ = (
        UniqueConstraint("card_number", "card_day", "operator_id", "revision", name="uq_fare_posting_revision"),
        Index("ix_fare_posting_operator_id", "operator_id", "posted_at"),
        CheckConstraint("amount_minor <> 0", name="amount_minor"),
        CheckConstraint("means IN ('purse', 'debt', 'foreign')", name="means"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    card_number: Mapped[str]
    issuer: Mapped[str]
    card_day: Mapped[date] = mapped_column(Date)
    operator_id: Mapped[str]
    revision: Mapped[int]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    total_minor: Mapped[int] = mapped_column(BigInteger)
    means: Mapped[str]
    liability: Mapped[str]
    cause: Mapped[list[str]]
    posted_at: Mapped[datetime]


class Debt(Base):
    """A fare that the purse could not pay. ``liability`` is who bears it if it is never recovered.

    ``posting_id`` is the fare posting (or, for a ride in another city, the presentment) that it could not pay.
    """

    __tablename__ = "debt"
    __table_args__ = (
        Index("ix_debt_holder_id", "holder_id", "id", postgresql_where="left_minor > 0"),
        Index("ix_debt_card_number", "card_number", postgresql_where="left_minor > 0"),
        CheckConstraint("left_minor BETWEEN 0 AND amount_minor", name="left_minor"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    holder_id: Mapped[UUID]
    card_number: Mapped[str]
    creditor: Mapped[str]
    liability: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    left_minor: Mapped[int] = mapped_column(BigInteger)
    opened_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    posting_id: Mapped[UUID | None]


class PresentmentIn(Base):
    """A partner city's claim for one of our cards, as it came, and the answer it got and gets again."""

    __tablename__ = "presentment_in"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True)
    acquirer: Mapped[str]
    digest: Mapped[str]
    claim: Mapped[Json]
    answer: Mapped[Json]
    received_at: Mapped[datetime]


class PresentmentOut(Base):
    """A claim of ours towards a card's issuer. ``answer`` is empty until the issuer answered."""

    __tablename__ = "presentment_out"
    __table_args__ = (
        ForeignKeyConstraint(["fare_posting_id"], ["card.fare_posting.id"]),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    fare_posting_id: Mapped[UUID]
    issuer: Mapped[str]
    claim: Mapped[Json]
    answer: Mapped[Json | None]
    written_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]


class PartnerDenyList(Base):
    """A partner city's deny list as last fetched; our gates refuse its blocked cards too. ``denied`` is a roaring bitmap."""

    __tablename__ = "partner_deny_list"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    city: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    denied: Mapped[bytes] = mapped_column(LargeBinary)
    fetched_at: Mapped[datetime]


class Contest(Base):
    """A holder's objection to a journey's price."""

    __tablename__ = "journey_contest"
    __table_args__ = (
        Index("ix_journey_contest_operator_id", "operator_id", "id"),
        CheckConstraint("state IN ('open', 'upheld', 'rejected')", name="state"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    card_number: Mapped[str]
    journey_key: Mapped[str]
    holder_id: Mapped[UUID]
    operator_id: Mapped[str]
    kind: Mapped[str]
    claimed_stop: Mapped[str]
    words: Mapped[str]
    state: Mapped[str]
    opened_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    answer: Mapped[str]


class ClaimedTap(Base):
    """A missing tap put in its place: by an upheld contest, or from the rider's own habit. It is priced like one that a gate
    recorded, marked, and gives way as soon as the journey is whole without it.

    ``journey_key`` is the tap that was there; ``evidence`` says what a habit rests on.
    """

    __tablename__ = "claimed_tap"
    __table_args__ = (
        Index("ix_claimed_tap_card_number", "card_number", "card_day"),
        CheckConstraint("source IN ('claim', 'habit')", name="source"),
        CheckConstraint("source <> 'claim' OR contest_id IS NOT NULL", name="contest"),
        Index("uq_claimed_tap_habit", "card_number", "journey_key", unique=True, postgresql_where="source = 'habit'"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    contest_id: Mapped[UUID | None] = mapped_column(ForeignKey("card.journey_contest.id"))
    source: Mapped[str] = mapped_column(default="claim")
    journey_key: Mapped[str] = mapped_column(default="")
    card_number: Mapped[str]
    card_day: Mapped[date] = mapped_column(Date)
    kind: Mapped[str]
    at: Mapped[datetime]
    operator_id: Mapped[str]
    stop_id: Mapped[str]
    line_id: Mapped[str]
    evidence: Mapped[Json] = mapped_column(default=dict)
    made_at: Mapped[datetime | None]


class TapRuling(Base):
    """Who bears an accepted tap of a card that stood on the deny list, and why. A tap without a row is its issuer's risk."""

    __tablename__ = "tap_ruling"
    __table_args__ = (
        ForeignKeyConstraint(["terminal_id", "boot_id", "seq"], ["card.tap.terminal_id", "card.tap.boot_id", "card.tap.seq"]),
        Index("ix_tap_ruling_operator_id", "operator_id", "ruled_at"),
        CheckConstraint("bearer IN ('issuer', 'operator')", name="bearer"),
        {"schema": "card"},
    )

    terminal_id: Mapped[UUID] = mapped_column(primary_key=True)
    boot_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    operator_id: Mapped[str]
    bearer: Mapped[str]
    reason: Mapped[str]
    held_seq: Mapped[int] = mapped_column(BigInteger)
    deadline: Mapped[datetime]
    ruled_at: Mapped[datetime]


class FraudCase(Base):
    """One credential shown twice: the evidence of every tap that carried it, what stays charged, and who bears the rest.

    ``taps`` are tap keys; ``genuine`` is the one that stays (the earliest, until an officer says otherwise).
    """

    __tablename__ = "fraud_case"
    __table_args__ = (
        UniqueConstraint("card_number", "token"),
        Index("ix_fraud_case_state", "state", "id"),
        CheckConstraint("state IN ('open', 'prepared', 'confirmed', 'dismissed')", name="state"),
        CheckConstraint("decided_by IS NULL OR covered_minor = 0 OR decided_by <> prepared_by", name="four_eyes"),
        CheckConstraint("covered_minor >= 0 AND covered_minor <= loss_minor", name="covered"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    card_number: Mapped[str]
    issuer: Mapped[str]
    token: Mapped[str]
    card_day: Mapped[date] = mapped_column(Date)
    operators: Mapped[list[str]]
    evidence: Mapped[Json]
    genuine: Mapped[str]
    bearer: Mapped[str]
    reason: Mapped[str]
    loss_minor: Mapped[int] = mapped_column(BigInteger)
    covered_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str]
    answer: Mapped[str] = mapped_column(default="")
    opened_at: Mapped[datetime]
    refreshed_at: Mapped[datetime]
    prepared_by: Mapped[str | None]
    prepared_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]


class RiskBudget(Base):
    """How much a bearer (``issuer``, or an operator's id) lets stand open for rides that were let through unpaid."""

    __tablename__ = "risk_budget"
    __table_args__ = (CheckConstraint("limit_minor >= 0", name="limit_minor"), {"schema": "card"})

    bearer: Mapped[str] = mapped_column(primary_key=True)
    limit_minor: Mapped[int] = mapped_column(BigInteger)
    set_by: Mapped[str]
    set_at: Mapped[datetime]


class WriteOff(Base):
    """A debt given up, at the cost of whoever bears it: prepared by one officer, approved by another."""

    __tablename__ = "debt_write_off"
    __table_args__ = (
        Index("uq_debt_write_off_waiting", "debt_id", unique=True, postgresql_where="state = 'waiting'"),
        CheckConstraint("state IN ('waiting', 'approved', 'refused')", name="state"),
        CheckConstraint("state <> 'approved' OR decided_by <> prepared_by", name="four_eyes"),
        CheckConstraint("amount_minor > 0", name="amount_minor"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    debt_id: Mapped[UUID] = mapped_column(ForeignKey("card.debt.id"))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    bearer: Mapped[str]
    reason: Mapped[str]
    state: Mapped[str]
    prepared_by: Mapped[str]
    prepared_at: Mapped[datetime]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]


class Apportionment(Base):
    """What one operator's fares of a card-day owe another by rule; a revision posts the difference to the one before."""

    __tablename__ = "apportionment"
    __table_args__ = (
        UniqueConstraint("card_day", "from_operator", "to_operator", "revision", name="uq_apportionment_revision"),
        CheckConstraint("from_operator <> to_operator", name="two_operators"),
        Index("ix_apportionment_to_operator", "to_operator", "card_day"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    card_day: Mapped[date] = mapped_column(Date)
    from_operator: Mapped[str]
    to_operator: Mapped[str]
    revision: Mapped[int]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    total_minor: Mapped[int] = mapped_column(BigInteger)
    journeys: Mapped[int]
    posted_at: Mapped[datetime]


class AlarmSeen(Base):
    """Somebody looked at an alarm, and said what it was."""

    __tablename__ = "tap_alarm_seen"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    alarm_id: Mapped[UUID] = mapped_column(ForeignKey("card.tap_alarm.id"), primary_key=True)
    seen_by: Mapped[str]
    seen_at: Mapped[datetime]
    note: Mapped[str]


class TariffDraft(Base):
    """A tariff version in the making. ``import_id`` is the feed it began from; once published, the one that brought it."""

    __tablename__ = "tariff_draft"
    __table_args__ = (
        Index("ix_tariff_draft_operator_id", "operator_id", "id"),
        CheckConstraint("state IN ('open', 'submitted', 'published', 'withdrawn')", name="state"),
        CheckConstraint("decided_by IS NULL OR decided_by <> submitted_by", name="four_eyes"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    operator_id: Mapped[str] = mapped_column(ForeignKey("card.operator.id"))
    feed_id: Mapped[str]
    import_id: Mapped[UUID] = mapped_column(ForeignKey("card.feed_import.id"))
    base_tariff: Mapped[str]
    state: Mapped[str]
    version: Mapped[int]
    opened_by: Mapped[str]
    opened_at: Mapped[datetime]
    submitted_by: Mapped[str | None]
    submitted_at: Mapped[datetime | None]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    answer: Mapped[str]


class TariffDraftVersion(Base):
    """What a draft said after one save: its sheets (``card.fares.drafting``). Never changed."""

    __tablename__ = "tariff_draft_version"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    draft_id: Mapped[UUID] = mapped_column(ForeignKey("card.tariff_draft.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    sheets: Mapped[Json]
    note: Mapped[str]
    made_by: Mapped[str]
    made_at: Mapped[datetime]


class WhatIfRun(Base):
    """Past taps to be priced under a version of a draft. ``bounds`` are the last card numbers of its parts, in order."""

    __tablename__ = "what_if_run"
    __table_args__ = (
        ForeignKeyConstraint(
            ["draft_id", "version"], ["card.tariff_draft_version.draft_id", "card.tariff_draft_version.version"]
        ),
        Index("ix_what_if_run_draft_id", "draft_id", "id"),
        CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name="state"),
        CheckConstraint("first <= last", name="period"),
        {"schema": "card"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    draft_id: Mapped[UUID]
    version: Mapped[int]
    operator_id: Mapped[str]
    first: Mapped[date] = mapped_column(Date)
    last: Mapped[date] = mapped_column(Date)
    state: Mapped[str]
    bounds: Mapped[list[str]]
    cards: Mapped[int] = mapped_column(BigInteger)
    asked_by: Mapped[str]
    asked_at: Mapped[datetime]
    begun_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    error: Mapped[str]


class WhatIfPart(Base):
    """One part of a run, priced: what each group of riders paid and would pay. Written once, by whoever came first."""

    __tablename__ = "what_if_part"
    __table_args__ = {"schema": "card"}  # noqa: RUF012

    run_id: Mapped[UUID] = mapped_column(ForeignKey("card.what_if_run.id"), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    groups: Mapped[Json]
    taps: Mapped[int] = mapped_column(BigInteger)
    priced_at: Mapped[datetime]


refuse_on_constraint("pk_presentment_in", PresentmentConflict)
