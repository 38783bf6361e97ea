"""A file as large as a busy day's is signed by one city and read by the other."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from app.kernel import signing
from app.kernel.signing import Purpose
from app.web.security import UPLOAD_BYTES_MAX
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


def test_the_largest_file_that_is_cut_fits_into_a_message() -> None:
    """With what differs from record to record as it does in life: ids, cards, references, instants."""
    chance = random.Random(4)
    charges = [
        Charge(
            id=UUID(int=chance.getrandbits(128)),
            issuer="320500",
            acquirer="320100",
            amount_minor=chance.randrange(100, 900),
            kind="transit",
            card_number=(number := f"313205{chance.randrange(10**13):013d}"),
            reference=f"card-day:{number}:2026-11-22:nj-metro",
            terminal_id=str(UUID(int=chance.randrange(2_000) << 64)),
            counter=chance.randrange(100_000),
            event_at=NOW + timedelta(milliseconds=chance.randrange(86_400_000)),
            accepted_at=NOW + timedelta(microseconds=chance.randrange(86_400_000_000)),
        )
        for _ in range(manifest.ROWS_CUT)
    ]
    records = len(manifest.to_parquet(charges)) * 4 / 3  # in base64
    signed = 2**20  # the manifest, at most
    assert records + signed < UPLOAD_BYTES_MAX
    assert records > UPLOAD_BYTES_MAX / 3, "a file is not cut smaller than it has to be"
