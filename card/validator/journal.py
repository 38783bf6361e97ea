"""The terminal's own journal: one SQLite file that survives a kill at any instruction.

WAL with ``synchronous=FULL``: a decision is spoken only after its record is on the disk. Records are chained by hash and never
changed; only their upload state is. Everything the gate remembers between two runs is here too.
"""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from card.credentials import CHAIN_START, CredentialRefused, DenyList, Tap, TapKind, cbor, denials, tap_from
from card.validator.rules import Memory

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tap (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, digest BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'stored', 'refused')), code TEXT NOT NULL DEFAULT '',
    UNIQUE (boot_id, seq)
);
CREATE INDEX IF NOT EXISTS tap_waiting ON tap (place) WHERE state = 'waiting';
CREATE TABLE IF NOT EXISTS shown (replay_key BLOB PRIMARY KEY, counter INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS card (
    number TEXT PRIMARY KEY, accepted_ms INTEGER NOT NULL, kind TEXT NOT NULL, first_sync INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS card_first ON card (first_sync);
CREATE TABLE IF NOT EXISTS deny (city TEXT PRIMARY KEY, seq INTEGER NOT NULL, digest BLOB NOT NULL, denied BLOB NOT NULL);
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many records there are, by what became of them."""

    waiting: int
    stored: int
    refused: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """Where the chain does not hold."""

    boot_id: str
    seq: int


class Journal:
    """One terminal's journal. Several processes may open it; each has a boot id of its own and they take turns."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)
        self.boot_id = f"{time.time_ns():x}-{secrets.token_hex(3)}"
        self._seq = 0

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One transaction that no other process of this terminal interrupts."""
        self._db.execute("BEGIN IMMEDIATE")
        seq = self._seq
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            self._seq = seq
            raise
        self._db.execute("COMMIT")

    def fact(self, name: str) -> object:
        """A remembered fact, ``None`` where there is none."""
        row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return cbor.read(row[0]) if row else None

    def whole_numbers(self, *names: str) -> tuple[int, ...]:
        """Remembered whole numbers in the order asked for, 0 where there is none."""
        marks = ", ".join("?" * len(names))
        rows = self._db.execute(f"SELECT name, value FROM fact WHERE name IN ({marks})", names)  # noqa: S608  only marks
        found = {name: cbor.read(value) for name, value in rows}
        return tuple(value if isinstance(value := found.get(name), int) else 0 for name in names)

    def remember(self, name: str, value: object) -> None:
        """Remember a fact (anything CBOR carries)."""
        self._db.execute(
            "INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, cbor.write(value))
        )

    def memory(self, *, number: str, replay_key: bytes, sync: int, most: int) -> Memory:
        """What is remembered of a card. ``sync`` counts the syncs so far; new cards are counted up to ``most``."""
        counter = self._db.execute("SELECT counter FROM shown WHERE replay_key = ?", (replay_key,)).fetchone()
        card = self._db.execute("SELECT accepted_ms, kind FROM card WHERE number = ?", (number,)).fetchone()
        query = "SELECT count(*) FROM (SELECT 1 FROM card WHERE first_sync = ? LIMIT ?)"
        (risked,) = self._db.execute(query, (sync, most)).fetchone()
        return Memory(
            counter=counter[0] if counter else None,
            accepted_at=datetime.fromtimestamp(card[0] / 1000, tz=UTC) if card else None,
            accepted_kind=TapKind(card[1]) if card else None,
            first_seen_since_sync=risked,
        )

    def accept(self, *, number: str, replay_key: bytes, counter: int, at_ms: int, kind: TapKind, sync: int) -> None:
        """Remember that the card passed. ``sync`` is -1 unless it was taken at a risk, new and with an old list."""
        self._db.execute(
            "INSERT INTO shown VALUES (?, ?) ON CONFLICT (replay_key) DO UPDATE SET counter = max(counter, excluded.counter)",
            (replay_key, counter),
        )
        self._db.execute(
            "INSERT INTO card VALUES (?, ?, ?, ?)"
            " ON CONFLICT (number) DO UPDATE SET accepted_ms = excluded.accepted_ms, kind = excluded.kind",
            (number, at_ms, kind.value, sync),
        )

    def next_key(self) -> tuple[int, bytes]:
        """``(seq, prev)`` of the next record of this run; call inside :meth:`exclusive`."""
        row = self._db.execute("SELECT digest FROM tap ORDER BY place DESC LIMIT 1").fetchone()
        self._seq += 1
        return self._seq, row[0] if row else CHAIN_START

    def write(self, tap: Tap) -> None:
        """Append a record; call inside :meth:`exclusive`."""
        record = tap.encoded()
        self._db.execute(
            "INSERT INTO tap (boot_id, seq, record, digest) VALUES (?, ?, ?, ?)",
            (tap.boot_id, tap.seq, record, hashlib.sha256(record).digest()),
        )

    def waiting(self, most: int) -> list[Tap]:
        """The oldest records that no receipt has confirmed."""
        rows = self._db.execute("SELECT record FROM tap WHERE state = 'waiting' ORDER BY place LIMIT ?", (most,))
        return [tap_from(cbor.read(record)) for (record,) in rows]

    def settle(self, boot_id: str, seq: int, *, stored: bool, code: str = "") -> None:
        """The server answered for one record."""
        self._db.execute(
            "UPDATE tap SET state = ?, code = ? WHERE boot_id = ? AND seq = ?",
            ("stored" if stored else "refused", code, boot_id, seq),
        )

    def reopen(self, boot_id: str, first: int, last: int) -> int:
        """The server misses what was confirmed: send it again; how many records that were."""
        done = self._db.execute(
            "UPDATE tap SET state = 'waiting' WHERE boot_id = ? AND seq BETWEEN ? AND ? AND state = 'stored'",
            (boot_id, first, last),
        )
        return done.rowcount

    def counts(self) -> Counts:
        """How many records wait, are stored, were refused."""
        found = dict(self._db.execute("SELECT state, count(*) FROM tap GROUP BY state").fetchall())
        return Counts(**{state: found.get(state, 0) for state in ("waiting", "stored", "refused")})

    def last_at_ms(self) -> int:
        """The terminal's own clock at the newest record, 0 where there is none."""
        row = self._db.execute("SELECT record FROM tap ORDER BY place DESC LIMIT 1").fetchone()
        return tap_from(cbor.read(row[0])).device_at if row else 0

    def verify_chain(self) -> Broken | None:
        """Walk the whole chain; the first record that does not follow from the one before, if any."""
        prev = CHAIN_START
        for boot_id, seq, record, digest in self._db.execute("SELECT boot_id, seq, record, digest FROM tap ORDER BY place"):
            try:
                follows = tap_from(cbor.read(record)).prev == prev and hashlib.sha256(record).digest() == digest
            except CredentialRefused:
                follows = False
            if not follows:
                return Broken(boot_id=boot_id, seq=seq)
            prev = digest
        return None

    def deny_list(self, city: str) -> DenyList | None:
        """The deny list held for ``city``."""
        row = self._db.execute("SELECT seq, digest, denied FROM deny WHERE city = ?", (city,)).fetchone()
        return DenyList(city=city, seq=row[0], digest=row[1], denied=denials.unpack(row[2])) if row else None

    def deny_lists(self) -> dict[str, DenyList]:
        """All deny lists held, by city."""
        cities = [city for (city,) in self._db.execute("SELECT city FROM deny ORDER BY city")]
        return {city: held for city in cities if (held := self.deny_list(city)) is not None}

    def hold(self, held: DenyList) -> None:
        """Keep a deny list."""
        self._db.execute(
            "INSERT INTO deny VALUES (?, ?, ?, ?) ON CONFLICT (city)"
            " DO UPDATE SET seq = excluded.seq, digest = excluded.digest, denied = excluded.denied",
            (held.city, held.seq, held.digest, held.base()),
        )

    def drop_lists(self) -> None:
        """Forget every deny list: the next sync asks for bases."""
        self._db.execute("DELETE FROM deny")
