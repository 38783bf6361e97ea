"""The terminal's own journal: one SQLite file that survives a kill, and a loss of power, at any instruction.

WAL with ``synchronous=FULL``: a decision is spoken only after its record is on the disk. Records are chained by hash and never
changed; only their upload state is. Everything the gate remembers between two runs is here too.

A decision costs one reading statement and three writing ones. What does not change from tap to tap (facts, the head of the
chain) is kept in this process and read again when ``PRAGMA data_version`` says that another connection wrote.
"""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from card.credentials import CHAIN_START, CredentialRefused, Delta, DenyList, Tap, TapKind, cbor, denials, tap_from
from card.validator.rules import Memory

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tap (
    place INTEGER PRIMARY KEY,
    boot_id TEXT NOT NULL, seq INTEGER NOT NULL, record BLOB NOT NULL, digest BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'stored', 'refused')), code TEXT NOT NULL DEFAULT '',
    UNIQUE (boot_id, seq)
);
CREATE TABLE IF NOT EXISTS shown (
    replay_key BLOB PRIMARY KEY, counter INTEGER NOT NULL, at_ms INTEGER NOT NULL DEFAULT 0, here INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS card (
    number TEXT PRIMARY KEY, accepted_ms INTEGER NOT NULL, kind TEXT NOT NULL, first_sync INTEGER NOT NULL,
    replay_key BLOB NOT NULL DEFAULT x'', here INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS card_risked ON card (first_sync) WHERE first_sync >= 0;
CREATE TABLE IF NOT EXISTS deny (city TEXT PRIMARY KEY, seq INTEGER NOT NULL, digest BLOB NOT NULL, denied BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deny_delta (
    city TEXT NOT NULL, seq INTEGER NOT NULL, prev_digest BLOB NOT NULL, adds BLOB NOT NULL, removes BLOB NOT NULL,
    digest BLOB NOT NULL, PRIMARY KEY (city, seq)
) WITHOUT ROWID;
"""
VERSION: Final = 2
SECOND_FORM: Final = (  # what the first form of the file lacks or has too much
    "DROP INDEX IF EXISTS tap_waiting",
    "DROP INDEX IF EXISTS card_first",
    "ALTER TABLE shown ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE shown ADD COLUMN here INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE card ADD COLUMN replay_key BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE card ADD COLUMN here INTEGER NOT NULL DEFAULT 1",
)
CHECKPOINT_PAGES: Final = 2000  # a checkpoint every two or three hundred decisions, 8 MB of log at most
DELTAS_MAX: Final = 200  # then the base is written anew
KEEP_TAPS: Final = 200_000
KEEP_SHOWN_MS: Final = 2 * 86_400_000  # a code is good for a minute; its counter is kept for two days
KEEP_CARDS_MS: Final = 90 * 86_400_000
SLICE: Final = 500


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """A card that passed a gate of the station: what the other gates need to refuse it a second time."""

    replay_key: bytes
    counter: int
    number: str
    at_ms: int
    kind: TapKind


class Journal:
    """One terminal's journal. Several processes may open it; each has a boot id of its own and they take turns."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """``durable=False`` leaves the flush to the disk to others: for what can be had again, as the neighbours' counters."""
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)  # one thread at a time
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        self._prepare()
        self.boot_id = f"{time.time_ns():x}-{secrets.token_hex(3)}"
        self._seq = 0
        self._facts: dict[str, object] = {}
        self._head: bytes | None = None
        self._version = -1

    def _prepare(self) -> None:
        if self._db.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if self._db.execute("PRAGMA user_version").fetchone()[0] != VERSION:  # another process may have been here
                known = self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'tap'").fetchone()[0]
                for statement in SECOND_FORM if known else ():
                    self._db.execute(statement)
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {VERSION}")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One transaction that no other process of this terminal interrupts."""
        self._db.execute("BEGIN IMMEDIATE")
        seq, head, facts = self._seq, self._head, dict(self._facts)
        try:
            self._look()
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._seq, self._head, self._facts = seq, head, facts
            self._version = -1
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _look(self) -> None:
        """Forget what is kept in this process when another connection wrote."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._facts.clear()
            self._head = None
            self._version = version

    # Facts

    def fact(self, name: str) -> object:
        """A remembered fact, ``None`` where there is none."""
        self._look()
        return self._fact(name)

    def _fact(self, name: str) -> object:
        if name not in self._facts:
            row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
            self._facts[name] = cbor.read(row[0]) if row else None
        return self._facts[name]

    def whole_numbers(self, *names: str) -> tuple[int, ...]:
        """Remembered whole numbers in the order asked for, 0 where there is none."""
        self._look()
        return tuple(value if isinstance(value := self._fact(name), int) else 0 for name in names)

    def remember(self, name: str, value: object) -> None:
        """Remember a fact (anything CBOR carries)."""
        self._db.execute(
            "INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, cbor.write(value))
        )
        self._facts[name] = value

    # Cards

    def memory(self, *, number: str, replay_key: bytes, risked: tuple[int, int] | None = None) -> Memory:
        """What is remembered of a card. ``risked`` ``(sync, most)`` also counts the new cards taken at a risk since then."""
        counter, accepted_ms, kind = self._db.execute(
            "SELECT shown.counter, card.accepted_ms, card.kind FROM (SELECT 1)"
            " LEFT JOIN shown ON shown.replay_key = ? LEFT JOIN card ON card.number = ?",
            (replay_key, number),
        ).fetchone()
        taken = 0
        if risked is not None:
            query = "SELECT count(*) FROM (SELECT 1 FROM card WHERE first_sync >= 0 AND first_sync = ? LIMIT ?)"
            (taken,) = self._db.execute(query, risked).fetchone()
        return Memory(
            counter=counter,
            accepted_at=datetime.fromtimestamp(accepted_ms / 1000, tz=UTC) if accepted_ms is not None else None,
            accepted_kind=TapKind(kind) if kind is not None else None,
            first_seen_since_sync=taken,
        )

    def accept(self, passed: Passed, *, sync: int, here: bool = True) -> None:
        """Remember that a card passed. ``sync`` is -1 unless it was taken at a risk, new and with an old list.

        ``here`` is false where another gate of the station says so; what is newer always stays.
        """
        self._db.execute(
            "INSERT INTO shown VALUES (?, ?, ?, ?) ON CONFLICT (replay_key) DO UPDATE SET"
            " counter = excluded.counter, at_ms = max(at_ms, excluded.at_ms), here = excluded.here"
            " WHERE excluded.counter > counter",
            (passed.replay_key, passed.counter, passed.at_ms, here),
        )
        self._db.execute(
            "INSERT INTO card VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET"
            " accepted_ms = excluded.accepted_ms, kind = excluded.kind, replay_key = excluded.replay_key, here = excluded.here"
            " WHERE excluded.accepted_ms >= accepted_ms",
            (passed.number, passed.at_ms, passed.kind.value, sync, passed.replay_key, here),
        )

    def passed_since(self, at_ms: int, most: int) -> list[Passed]:
        """The cards that passed this gate itself since ``at_ms``, each with its last passage, the oldest first."""
        rows = self._db.execute(
            "SELECT card.replay_key, shown.counter, card.number, card.accepted_ms, card.kind FROM card"
            " JOIN shown USING (replay_key) WHERE card.here AND card.accepted_ms >= ? ORDER BY card.accepted_ms LIMIT ?",
            (at_ms, most),
        )
        return [
            Passed(replay_key=key, counter=counter, number=number, at_ms=at, kind=TapKind(kind))
            for key, counter, number, at, kind in rows
        ]

    # Records

    def next_key(self) -> tuple[int, bytes]:
        """``(seq, prev)`` of the next record of this run; call inside :meth:`exclusive`."""
        if self._head is None:
            row = self._db.execute("SELECT digest FROM tap ORDER BY place DESC LIMIT 1").fetchone()
            self._head = row[0] if row else self._anchor()
        self._seq += 1
        return self._seq, self._head

    def write(self, tap: Tap) -> None:
        """Append a record; call inside :meth:`exclusive`."""
        record = tap.encoded()
        self._head = hashlib.sha256(record).digest()
        self._db.execute(
            "INSERT INTO tap (boot_id, seq, record, digest) VALUES (?, ?, ?, ?)", (tap.boot_id, tap.seq, record, self._head)
        )

    def waiting(self, most: int) -> list[Tap]:
        """The oldest records that no receipt has confirmed."""
        (settled,) = self.whole_numbers("settled")
        rows = self._db.execute(
            "SELECT record FROM tap WHERE place > ? AND state = 'waiting' ORDER BY place LIMIT ?", (settled, most)
        )
        return [tap_from(cbor.read(record)) for (record,) in rows]

    def settle(self, results: Iterable[tuple[str, int, bool, str]]) -> None:
        """The server answered: ``(boot_id, seq, stored or refused, code)`` of each record; inside :meth:`exclusive`."""
        self._db.executemany(
            "UPDATE tap SET state = ?, code = ? WHERE boot_id = ? AND seq = ?",
            [("stored" if stored else "refused", code, boot_id, seq) for boot_id, seq, stored, code in results],
        )
        (settled,) = self.whole_numbers("settled")
        (first,) = self._db.execute("SELECT min(place) FROM tap WHERE place > ? AND state = 'waiting'", (settled,)).fetchone()
        self.remember("settled", first - 1 if first is not None else self.last_place())

    def reopen(self, boot_id: str, first: int, last: int) -> int:
        """The server misses what was confirmed: send it again; how many records that were. Inside :meth:`exclusive`."""
        done = self._db.execute(
            "UPDATE tap SET state = 'waiting' WHERE boot_id = ? AND seq BETWEEN ? AND ? AND state = 'stored' RETURNING place",
            (boot_id, first, last),
        ).fetchall()
        if done:
            (settled,) = self.whole_numbers("settled")
            self.remember("settled", min(settled, min(done)[0] - 1))
        return len(done)

    def waits(self) -> int:
        """How many records wait."""
        (settled,) = self.whole_numbers("settled")
        query = "SELECT count(*) FROM tap WHERE place > ? AND state = 'waiting'"
        return int(self._db.execute(query, (settled,)).fetchone()[0])

    def counts(self) -> Counts:
        """How many records wait, are stored, were refused, of those still kept."""
        found = dict(self._db.execute("SELECT state, count(*) FROM tap GROUP BY state").fetchall())
        return Counts(**{state: found.get(state, 0) for state in ("waiting", "stored", "refused")})

    def last_place(self) -> int:
        """Where the newest record stands, 0 where there is none."""
        return int(self._db.execute("SELECT coalesce(max(place), 0) FROM tap").fetchone()[0])

    def last_at_ms(self, *, after: int = 0) -> int:
        """The terminal's own clock at the newest record behind the place ``after``, 0 where there is none."""
        row = self._db.execute("SELECT record FROM tap WHERE place > ? ORDER BY place DESC LIMIT 1", (after,)).fetchone()
        return tap_from(cbor.read(row[0])).device_at if row else 0

    def _anchor(self) -> bytes:
        found = self.fact("anchor")
        return found if isinstance(found, bytes) else CHAIN_START

    def verify_chain(self) -> Broken | None:
        """Walk the whole chain that is kept; the first record that does not follow from the one before, if any."""
        prev = self._anchor()
        for boot_id, seq, record, digest in self._db.execute("SELECT boot_id, seq, record, digest FROM tap ORDER BY place"):
            try:
                follows = tap_from(cbor.read(record)).prev == prev and hashlib.sha256(record).digest() == digest
            except CredentialRefused:
                follows = False
            if not follows:
                return Broken(boot_id=boot_id, seq=seq)
            prev = digest
        return None

    # Deny lists

    def deny_list(self, city: str) -> DenyList | None:
        """The deny list held for ``city``: the base and the deltas after it."""
        row = self._db.execute("SELECT seq, digest, denied FROM deny WHERE city = ?", (city,)).fetchone()
        if row is None:
            return None
        found = DenyList(city=city, seq=row[0], digest=row[1], denied=denials.unpack(row[2]))
        deltas = self._db.execute(
            "SELECT seq, prev_digest, adds, removes, digest FROM deny_delta WHERE city = ? AND seq > ? ORDER BY seq",
            (city, found.seq),
        )
        return found.follow(
            Delta(city=city, seq=seq, prev_digest=prev, adds=adds, removes=removes, digest=digest)
            for seq, prev, adds, removes, digest in deltas
        )

    def deny_place(self, city: str) -> int | None:
        """The sequence of the list held for ``city``; none where none is held."""
        row = self._db.execute(
            "SELECT max(deny.seq, coalesce((SELECT max(seq) FROM deny_delta WHERE city = deny.city), 0))"
            " FROM deny WHERE city = ?",
            (city,),
        ).fetchone()
        return None if row is None else int(row[0])

    def deny_cities(self) -> list[str]:
        """The cities whose deny list is held."""
        return [city for (city,) in self._db.execute("SELECT city FROM deny ORDER BY city")]

    def hold(self, held: DenyList, deltas: Iterable[Delta] | None = None) -> None:
        """Keep a deny list: whole, or where ``deltas`` lead to it from the one held, those only (a gate's flash wears out)."""
        if deltas is not None:
            self._db.executemany(
                "INSERT OR REPLACE INTO deny_delta VALUES (?, ?, ?, ?, ?, ?)",
                [(one.city, one.seq, one.prev_digest, one.adds, one.removes, one.digest) for one in deltas],
            )
            query = "SELECT count(*) FROM deny_delta WHERE city = ?"
            if self._db.execute(query, (held.city,)).fetchone()[0] <= DELTAS_MAX:
                return
        self._db.execute("DELETE FROM deny_delta WHERE city = ?", (held.city,))
        self._db.execute(
            "INSERT INTO deny VALUES (?, ?, ?, ?) ON CONFLICT (city)"
            " DO UPDATE SET seq = excluded.seq, digest = excluded.digest, denied = excluded.denied",
            (held.city, held.seq, held.digest, held.base()),
        )

    def drop_lists(self) -> None:
        """Forget every deny list: the next sync asks for bases."""
        self._db.execute("DELETE FROM deny")
        self._db.execute("DELETE FROM deny_delta")

    # Room

    def prune(self, *, now_ms: int, keep_taps: int = KEEP_TAPS) -> int:
        """Let go of what is no longer needed, a slice a transaction so that no decision waits: confirmed records beyond the
        newest ``keep_taps``, counters of codes that are long too old, cards not seen for 90 days. How many rows went.

        The chain then begins at an anchor: the digest of the last record that went.
        """
        gone = 0
        while True:
            with self.exclusive():
                (settled,) = self.whole_numbers("settled")
                rows = self._db.execute(
                    "SELECT place, digest FROM tap WHERE place <= ? ORDER BY place LIMIT ?",
                    (min(settled, self.last_place() - max(keep_taps, 1)), SLICE),
                ).fetchall()
                if rows:
                    self._db.execute("DELETE FROM tap WHERE place <= ?", (rows[-1][0],))
                    self.remember("anchor", rows[-1][1])
            gone += len(rows)
            if len(rows) < SLICE:
                break
        for find, drop, before_ms in (
            (
                "SELECT replay_key FROM shown WHERE at_ms < ?",
                "DELETE FROM shown WHERE replay_key = ? AND at_ms < ?",
                now_ms - KEEP_SHOWN_MS,
            ),
            (
                "SELECT number FROM card WHERE accepted_ms < ?",
                "DELETE FROM card WHERE number = ? AND accepted_ms < ?",
                now_ms - KEEP_CARDS_MS,
            ),
        ):
            old = [(key, before_ms) for (key,) in self._db.execute(find, (before_ms,))]
            for start in range(0, len(old), SLICE):
                with self.exclusive():
                    self._db.executemany(drop, old[start : start + SLICE])
            gone += len(old)
        return gone
