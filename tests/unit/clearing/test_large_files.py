"""A file as large as a busy day's is signed by one city and read by the other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from app.kernel import signing
from app.kernel.signing import Purpose
from card.clearing import Charge, manifest

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)


def test_a_manifest_with_every_bucket_in_use_is_read(tmp_path: Path) -> None:
    charges = [
        Charge(
            id=UUID(int=number),
            issuer="320500",
            acquirer="320100",
            amount_minor=200,
            kind="transit",
            card_number="3132010000000000001",
            reference=f"journey:{number}",
            terminal_id="NJ-GATE-1",
            counter=number,
            event_at=NOW,
            accepted_at=NOW + timedelta(milliseconds=number),
        )
        for number in range(40_000)
    ]
    records = manifest.to_parquet(charges)
    said = manifest.build(
        charges,
        records,
        acquirer="320100",
        issuer="320500",
        window=NOW.date(),
        number=1,
        previous=None,
        cut_off=NOW,
        kid="k",
    )
    assert len(said["buckets"]) > 4_000
    key = signing.load_or_create(tmp_path, Purpose.FEDERATION)
    read = signing.read_jws(signing.sign_jws(key, said, typ=manifest.TYPE), {key.kid: key.public}, typ=manifest.TYPE)
    assert read == said
