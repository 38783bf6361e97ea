"""Single posts from many callers, gathered into batches of one commit.

Thirty callers that each commit alone wait for thirty flushes of the disk. Here they hand their transfers to one thread of the
process, which books whatever has come within a few milliseconds as one batch; each gets its own answer. The queue is bounded:
when the database cannot keep up, a caller is told so at once instead of waiting behind a thousand others.

What a caller writes beside its transfers (a bill's new state, the audit entry) goes into the same commit: it hands over a
function, which is called once its transfers are booked. If one of a batch raises, none of the batch is committed, and each
group is booked alone: only the culprit's transfers and rows are undone, and its error is its own.
"""

import atexit
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import psycopg
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.errors import Unavailable, msg
from card.ledger import posting, queries
from card.ledger.rules import Outcome, OutcomeStatus, Transfer, UnknownTransfer

BATCH: Final = 2000  # transfers; more change the database's plan for the worse
WAIT_SECONDS: Final = 0.005
WAITING: Final = 4000  # groups that may wait before callers are turned away
TIMEOUT_SECONDS: Final = 5.0  # a caller waits so long for its answer
INFO: Final = "ledger.poster"
AWAY: Final = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)

Then = Callable[[Session], None]


class LedgerBusy(Unavailable):
    """More waits to be booked than the database can take; nothing of this request was booked."""

    code = "ledger-busy"
    sentence = msg("The ledger is busy. Nothing was booked; try again in a moment.")
    retry_after_seconds = 1


class OutcomeUnknown(Unavailable):
    """The answer did not come in time. The transfer may or may not be booked: ask by its id, or send it again."""

    code = "outcome-unknown"
    sentence = msg(
        "The answer did not come in time. Look again in a moment; doing it once more is safe, nothing is booked twice."
    )
    retry_after_seconds = 1


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """One caller's linked group, what it writes beside it, and where its answer goes."""

    group: Sequence[Transfer]
    then: Then | None
    remember: bool
    answer: Future[list[Outcome]] = field(default_factory=Future)


class Poster:
    """Gathers the posts of one process. Make one for each process; ``close`` books what still waits."""

    def __init__(self, database: Database, *, wait_seconds: float = WAIT_SECONDS, waiting: int = WAITING) -> None:
        """``wait_seconds`` is how long the first post of a batch waits for others; ``waiting`` bounds the queue."""
        self._database = database
        self._wait_seconds = wait_seconds
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(maxsize=waiting)
        self._last = 1  # callers in the batch before
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(
        self,
        transfers: Sequence[Transfer],
        *,
        then: Then | None = None,
        remember: bool = True,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> list[Outcome]:
        """Book ``transfers`` as one linked group, and what the caller writes beside it, in one commit shared with others.

        Refusals are outcomes, and are remembered unless ``remember`` is false: then the same ids may be tried again.
        ``then`` is called in the transaction of the batch, in the poster's thread, if the group is booked now: not where it is
        refused, nor where it is a repeat, whose rows came with it the first time. What it adds to the session is written with
        what others added, so one that reads back what it added flushes first. What it raises is raised here, and the group is
        not booked. It holds up everybody: let it write a few rows, and ask nobody else.

        Raises :class:`LedgerBusy` at once when too much is waiting, :class:`OutcomeUnknown` after ``timeout_seconds`` or when
        the database goes away.
        """
        waiting = _Waiting(group=transfers, then=then, remember=remember)
        self._start()
        try:
            self._queue.put_nowait(waiting)
        except queue.Full as error:
            raise LedgerBusy(f"{self._queue.maxsize} groups wait") from error
        try:
            return waiting.answer.result(timeout_seconds)
        except FutureTimeoutError as error:
            if waiting.answer.done():  # it came at the last moment
                return waiting.answer.result()
            waiting.answer.cancel()
            raise OutcomeUnknown(", ".join(str(transfer.id) for transfer in transfers)) from error

    def close(self) -> None:
        """Book what waits and end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
            atexit.unregister(self.close)

    def _start(self) -> None:
        """Start the thread on first use, so that a process may fork before it; it ends with the process."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ledger-poster", daemon=True)
                    self._thread.start()
                    atexit.register(self.close)

    def _run(self) -> None:
        while True:
            batch, last = self._gather()
            if batch:
                self._book(batch)
            if last:
                return

    def _gather(self) -> tuple[list[_Waiting], bool]:
        """Wait for a first group, then for as many as came last time, until the batch is full or its time is up.

        Callers who wait for their answers come back together; one who is alone waits for nobody. Whether this is the end.
        """
        first = self._queue.get()
        if first is None:
            return [], True
        batch, size, until = [first], len(first.group), time.monotonic() + self._wait_seconds
        while size < BATCH:
            left = until - time.monotonic() if len(batch) < self._last else 0.0
            try:
                following = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, True
            batch.append(following)
            size += len(following.group)
        self._last = len(batch)
        return batch, False

    def _book(self, batch: list[_Waiting]) -> None:
        """Book those of a batch who still wait; if it fails as a whole, each alone, so that one's fault stays its own."""
        asked = [waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()]
        if asked and not self._answer(asked) and len(asked) > 1:
            for waiting in asked:
                self._answer([waiting])

    def _answer(self, asked: list[_Waiting]) -> bool:
        """Book groups in one commit and answer them; whether that went well. A group that fails alone is told why."""
        try:
            outcomes = self._write(asked)
        except Exception as error:  # noqa: BLE001  whatever it is, the callers must not wait for ever
            if len(asked) == 1:
                asked[0].answer.set_exception(_as_told(error, asked[0].group))
            return False
        for waiting, found in zip(asked, outcomes, strict=True):
            waiting.answer.set_result(found)
        return True

    def _write(self, asked: list[_Waiting]) -> list[list[Outcome]]:
        """Book groups and what is written beside them, in one transaction; the outcomes of each.

        The callers' functions are called in the order of their transfers' ids, so that two posters lock the same rows in the
        same order.
        """
        forget = {transfer.id for waiting in asked if not waiting.remember for transfer in waiting.group}
        with self._database.transaction() as session:
            groups = [waiting.group for waiting in asked]
            answers = iter(posting.post_groups(session, groups, now=clock.now(), forget=forget))
            outcomes = [[next(answers) for _ in group] for group in groups]
            beside = [
                (waiting.group[0].id, waiting.then)
                for waiting, found in zip(asked, outcomes, strict=True)
                if waiting.then and any(outcome.status is OutcomeStatus.POSTED for outcome in found)
            ]
            with session.no_autoflush:
                for _, then in sorted(beside, key=lambda one: one[0]):
                    then(session)
        return outcomes


def _as_told(error: Exception, group: Sequence[Transfer]) -> Exception:
    """What a caller is told of ``error``: where the database went away, perhaps after the commit, that it is not known."""
    if not isinstance(error, AWAY):
        return error
    unknown = OutcomeUnknown(", ".join(str(transfer.id) for transfer in group))
    unknown.__cause__ = error
    return unknown


_making = threading.Lock()


def poster_of(database: Database) -> Poster:
    """The poster of this process for ``database``: made when first asked for, ended when the database is closed."""
    with _making:
        made = database.info.get(INFO)
        if not isinstance(made, Poster):
            made = database.info[INFO] = Poster(database)
            database.closing.append(made.close)
    return made


def outcome_of(session: Session, transfer_id: UUID) -> Outcome:
    """What became of a transfer, for a caller that did not get its answer. Raises :class:`UnknownTransfer` if nothing did."""
    found = queries.known(session, [transfer_id]).get(transfer_id)
    if found is None:
        raise UnknownTransfer(str(transfer_id))
    status = OutcomeStatus.REFUSED if found.refusal else OutcomeStatus.POSTED
    return Outcome(id=transfer_id, status=status, code=found.refusal)
