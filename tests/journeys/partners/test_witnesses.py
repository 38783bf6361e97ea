"""Two cities look at each other's books over HTTP: what continues is cosigned, what forks is refused and raises an alarm."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import segno
from PIL import Image

from app.kernel import clock, ids
from app.kernel.db import Database, Right
from card import ledger, partners
from card.ledger import Transfer, TransferCode, VerifierKey, chart, verify
from card.ledger import jobs as ledger_jobs
from card.partners import jobs
from tests.cities import Running, federate, get, running

HUB, NANJING, SUZHOU = "320000", "320100", "320500"
SEALED = ("ledger_seal", "ledger_record", "ledger_node", "ledger_checkpoint", "ledger_cosignature")


@pytest.fixture
def cities(server_url: str, template: str, worker_id: str, tmp_path: Path) -> Iterator[dict[str, Running]]:
    with running(
        (HUB, NANJING, SUZHOU), server_url=server_url, template=template, worker_id=worker_id, folder=tmp_path
    ) as made:
        federate(made)
        yield made


def book(city: Running, *names: str) -> None:
    """One batch a name, sealed as the worker does."""
    now = clock.now()
    for name in names:
        with city.database.transaction() as session:
            transfer = Transfer(
                id=ids.derived_id(clock.now(), name),
                debit=ledger.open_account(session, chart.bank(), now=now),
                credit=ledger.open_account(session, chart.purse("p"), now=now),
                amount_minor=1234,
                code=TransferCode.TOP_UP,
                event_at=now,
                reference=f"payment:{name}",
            )
            ledger.post(session, [transfer], now=now)
    sealer = Database.of(city.settings, Right.SEALER)
    ledger_jobs.seal(sealer, city.settings)
    sealer.close()


def unguard(owner: psycopg.Connection) -> None:
    """Put the books' triggers to sleep, as a city's owner can who is no superuser."""
    for table in ("transfer", "ledger_batch", *SEALED):
        owner.execute(f"ALTER TABLE card.{table} DISABLE TRIGGER USER")  # type: ignore[arg-type]


def receipt(city: Running, name: str) -> dict[str, object]:
    with city.database.transaction() as session:
        [transfer] = ledger.transfers_by_reference(session, f"payment:{name}")
        return ledger.receipt(session, transfer.id)


def test_a_receipt_carries_what_other_cities_cosigned_and_a_stranger_verifies_it(
    cities: dict[str, Running], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    with pytest.raises(partners.PartnerUnavailable):
        partners.look(suzhou.database, NANJING)  # nothing is sealed yet
    book(nanjing, "a", "b", "c")
    assert partners.look(suzhou.database, NANJING) == 3
    assert partners.look(suzhou.database, NANJING) == 3  # a repeat is quiet
    book(nanjing, "d", "e")
    jobs.witness_ledgers(suzhou.database, suzhou.settings)
    book(nanjing, "f")  # not cosigned yet

    key = get(f"{nanjing.url}/api/ledger/key").text.strip()
    document = receipt(nanjing, "a")
    said = verify.verify(document, key=key)
    assert said["checkpoint"] == "5"
    [(label, cosigned)] = [(name, text) for name, text in said.items() if name.startswith("cosigned")]
    assert label == "cosigned, its key as the receipt has it #1"
    assert cosigned.startswith("witness.citizen-card/320500 ")
    assert verify.verify(receipt(nanjing, "f"), key=key)["checkpoint"] == "6"
    witness = get(f"{suzhou.url}/api/ledger/cosigner").text.strip()
    assert witness == document["cosigners"][0]
    with pytest.raises(ledger.BadProof):
        verify.verify(receipt(nanjing, "f"), key=key, cosigners=(witness,))

    [text] = ledger.receipt_codes(document)
    picture = io.BytesIO()
    segno.make(text, error="l").save(picture, kind="png", scale=4)
    (tmp_path / "qr.png").write_bytes(picture.getvalue())
    Image.open(io.BytesIO(picture.getvalue())).convert("RGB").save(tmp_path / "qr.jpg", quality=80)
    (tmp_path / "receipt.json").write_text(json.dumps(document))
    capsys.readouterr()
    for place in (tmp_path / "qr.png", tmp_path / "qr.jpg", tmp_path / "receipt.json", text):
        assert verify.main([str(place), "--key", key, "--cosigner", witness, "--language", "en"]) == 0
        assert "proven\n" in (told := capsys.readouterr().out)
        assert "12.34 CNY" in told
        assert "cosigned #1: witness.citizen-card/320500" in told
    assert verify.main([str(tmp_path / "qr.png"), "--key", key, "--language", "zh"]) == 0
    assert capsys.readouterr().out.startswith("证明成立\n  账本: ledger.citizen-card/320100")


def test_books_that_fork_are_refused_and_the_alarm_stands(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    book(nanjing, "a", "b", "c")
    assert partners.look(suzhou.database, NANJING) == 3
    with psycopg.connect(nanjing.settings.database_url) as owner:  # Nanjing's owner writes history anew
        unguard(owner)
        owner.execute("UPDATE card.transfer SET reference = 'payment:other' WHERE reference = 'payment:b'")
        for table in SEALED:
            owner.execute(f"DELETE FROM card.{table}")
    book(nanjing, "d")
    for _ in range(2):
        with pytest.raises(partners.LedgerForked):
            partners.look(suzhou.database, NANJING)
    jobs.witness_ledgers(suzhou.database, suzhou.settings)
    with suzhou.database.transaction() as session:
        [alarm] = ledger.alarms(session)
        assert (alarm.kind, alarm.subject, alarm.acknowledged_at) == (ledger.FORK, "city:320100", None)
        assert alarm.expected.startswith("3 ")
    with nanjing.database.transaction() as session:
        assert ledger.newest_cosignatures(session) == []  # the refused checkpoint was not cosigned


def test_a_ledger_that_shrank_is_a_fork_too(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    book(nanjing, "a", "b", "c")
    assert partners.look(suzhou.database, NANJING) == 3
    with psycopg.connect(nanjing.settings.database_url) as owner:
        unguard(owner)
        for table in SEALED:
            owner.execute(f"DELETE FROM card.{table}")
        owner.execute("DELETE FROM card.ledger_batch WHERE batch_no > 2")
    book(nanjing)
    with pytest.raises(partners.LedgerForked):
        partners.look(suzhou.database, NANJING)


def test_a_cosignature_that_is_not_one_is_refused(cities: dict[str, Running]) -> None:
    nanjing, suzhou = cities[NANJING], cities[SUZHOU]
    book(nanjing, "a")
    key = VerifierKey.read(get(f"{suzhou.url}/api/ledger/cosigner").text)
    for body in (
        {"size": 1, "key": key.text, "line": key.line(bytes(72))},
        {"size": 1, "key": get(f"{nanjing.url}/api/ledger/cosigner").text.strip(), "line": key.line(bytes(72))},
        {"size": 1, "key": "x", "line": ""},
        {"size": 9, "key": key.text, "line": key.line(bytes(72))},
    ):
        with pytest.raises((partners.PartnerRefused, partners.PartnerUnavailable)):
            partners.send(suzhou.database, NANJING, "POST", "/api/federation/ledger/cosignatures", body)
