"""The check of what is new reads nothing older, and finds what was changed in it; the whole check finds it anywhere."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.kernel import clock, ids
from app.kernel.db import Database, psycopg_url
from app.kernel.settings import Settings
from card import ledger
from card.ledger import AccountId, Hold, Transfer, TransferCode, alarming, chart, jobs, proofs, recent

NOW = clock.now()  # a refusal of long ago would wait for the sealer's hourly round


def moved(database: Database, turn: str) -> None:
    """A turn of everything: guarded and open sides, a refusal, holds, a reversal; in accounts of its own and in shared ones."""
    with database.transaction() as session:
        bank, purse, own, metro = (
            ledger.open_account(session, spec, now=NOW)
            for spec in (chart.bank(), chart.purse("p"), chart.purse(turn), chart.operator("m"))
        )

        def paid(debit: AccountId, credit: AccountId, amount: int, name: str) -> Transfer:
            facts = {"code": TransferCode.FARE, "event_at": NOW, "reference": f"{turn}:{name}"}
            return Transfer(id=id_of(turn, name), debit=debit, credit=credit, amount_minor=amount, **facts)

        ledger.post_all(session, [paid(bank, purse, 1000, "in"), paid(bank, own, 500, "own")], now=NOW)
        ledger.post_all(session, [paid(purse, metro, 70, "fare"), paid(own, purse, 30, "over")], now=NOW)
        ledger.post(session, [paid(own, metro, 10**9, "dear")], now=NOW)
        hold = Hold(
            id=uuid4(), debit=own, credit=metro, amount_minor=40, code=TransferCode.FARE, expires_at=NOW + timedelta(days=1)
        )
        for one in (hold, Hold(**{name: getattr(hold, name) for name in Hold.__slots__} | {"id": uuid4()})):
            ledger.hold(session, one, now=NOW)
        ledger.post_hold(session, hold_id=hold.id, transfer_id=id_of(turn, "held"), now=NOW)
        ledger.reverse(session, original_id=id_of(turn, "fare"), reversal_id=id_of(turn, "back"), amount_minor=20, now=NOW)


def id_of(turn: str, name: str) -> UUID:
    return ids.derived_id(NOW, turn, name)


@pytest.fixture
def checked(database: Database, sealer: Database, settings: Settings) -> Database:
    """Books with an old turn, folded, sealed and proven, and a new one, sealed and folded since."""
    moved(database, "old")
    jobs.seal(sealer, settings)
    jobs.fold_settled(sealer, all_of_it=True)
    jobs.check(database, settings)
    moved(database, "new")
    jobs.seal(sealer, settings)
    jobs.fold_settled(sealer, all_of_it=True)
    return database


def test_the_job_reads_what_is_new_and_once_a_night_everything(
    checked: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.check(checked, settings)
    with checked.transaction() as session:
        new, whole = ledger.last_checks(session)
        assert (whole.whole, whole.transfers, whole.findings) == (True, 6, 0)
        assert (new.whole, new.transfers, new.findings, new.accounts) == (False, 6, 0, 5)
        assert (new.after_batch, new.upto_batch > whole.upto_batch) == (whole.upto_batch, True)
        assert new.upto_position > whole.upto_position
    jobs.check(checked, settings)
    tomorrow = clock.now() + timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    jobs.check(checked, settings)
    with checked.transaction() as session:
        assert [(one.whole, one.transfers) for one in ledger.last_checks(session, limit=2)] == [(True, 12), (False, 0)]
        assert ledger.standing(session) == 0


TAMPERED = {
    "an amount": ("transfer", "amount_minor = amount_minor + 1", "id = :fare", "transfer:{fare}"),
    "a reference": ("transfer", "reference = 'other'", "id = :fare", "transfer:{fare}"),
    "a time": ("transfer", "event_at = event_at + interval '1 microsecond'", "id = :fare", "transfer:{fare}"),
    "an account": ("transfer", "debit = 999", "id = :fare", "transfer:{fare}"),
    "a running balance": ("transfer", "debit_after_minor = debit_after_minor + 1", "id = :fare", "transfer:{fare}"),
    "a reversal": ("transfer", "amount_minor = 71", "id = :back", "transfer:{fare}"),
    "a delta": (
        "account_delta",
        "debit_minor = debit_minor + 1",
        "batch_no = :batch AND account_id = :bank",
        "batch:{batch} account:bank",
    ),
    "a batch": ("ledger_batch", "total_minor = total_minor + 1", "batch_no = :batch", "batch:{batch}"),
    "a batch's time": ("ledger_batch", "posted_at = posted_at + interval '1 hour'", "batch_no = :batch", "batch:{batch}"),
    "a balance": ("account_balance", "posted_minor = posted_minor + 1", "account_id = :own", "account:purse:{turn}"),
    "what is held": ("account_balance", "held_minor = held_minor + 1", "account_id = :own", "account:purse:{turn}"),
    "a hold": ("hold", "posted_minor = posted_minor - 1", "transfer_id = :held", "hold:{hold}"),
    "a floor": ("account", "floor_minor = 1000000", "id = :own", "account:{own}"),
    "a refusal": ("refused_transfer", "refusal = 'other'", "id = :dear", "refusal:{dear}"),
    "a mark": (
        "account_mark",
        "credit_minor = credit_minor + 1",
        "batch_no = :mark AND account_id = :bank",
        "account:bank mark:{mark}",
    ),
    "a turnover": ("turnover_mark", "debit_minor = debit_minor + 1", "batch_no = :mark AND kind = 'bank'", "mark:{mark}"),
    "a seal": ("ledger_seal", "root = root || '\\x00'", "batch_no = :batch", "batch:{batch}"),
    "a record": ("ledger_record", "hash = hash || '\\x00'", "refusal = :dear", "refusal:{dear}"),
}


def facts_of(session: Session, turn: str) -> dict[str, object]:
    """What the statements and the subjects need to know of a turn."""
    names = {name: id_of(turn, name) for name in ("fare", "back", "held", "dear")}
    place = session.execute(text("SELECT place FROM card.transfer WHERE id = :id"), {"id": id_of(turn, "in")}).scalar_one()
    marks = session.scalars(text("SELECT batch_no FROM card.ledger_mark ORDER BY batch_no")).all()
    return names | {
        "turn": turn,
        "batch": place >> 20,
        "mark": marks[0 if turn == "old" else 1],
        "bank": ledger.account_id(session, "bank"),
        "own": ledger.account_id(session, f"purse:{turn}"),
        "hold": session.execute(text("SELECT id FROM card.hold WHERE transfer_id = :held"), names).scalar_one(),
    }


def test_what_is_changed_behind_our_back_is_found(checked: Database, database_url: str, settings: Settings) -> None:
    key = proofs.checkpoint_verifier(settings)
    engine = create_engine(psycopg_url(database_url))
    missed = []
    with Session(engine) as session:
        last = alarming.last_checks(session, limit=1)[0]
        for turn in ("old", "new"):
            facts = facts_of(session, turn)
            for what, (table, change, where, subject) in TAMPERED.items():
                unguard(session, table)
                assert session.execute(text(f"UPDATE card.{table} SET {change} WHERE {where}"), facts).rowcount == 1
                report = recent.check_recent(
                    session, after_batch=last.upto_batch, after_position=last.upto_position, suite=key.suite
                )
                new = {finding.subject for finding in report.findings}
                whole = {finding.subject for finding in ledger.check_books(session).findings}
                whole |= {finding.subject for finding in ledger.check_proofs(session, key=key)}
                session.rollback()
                wanted = subject.format(**facts)
                if wanted not in whole or (turn == "new" and wanted not in new):
                    missed.append((turn, what, wanted, sorted(whole), sorted(new)))
    engine.dispose()
    assert missed == []


def unguard(session: Session, table: str) -> None:
    """Let the owner change anything, until the transaction ends."""
    session.execute(text(f"ALTER TABLE card.{table} DISABLE TRIGGER USER"))
    asked = "SELECT conname FROM pg_constraint WHERE conrelid = CAST(:t AS regclass) AND contype = 'c' AND conparentid = 0"
    for name in session.scalars(text(asked), {"t": f"card.{table}"}).all():
        session.execute(text(f"ALTER TABLE card.{table} DROP CONSTRAINT {name}"))
