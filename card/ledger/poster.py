"""Single posts from many callers, gathered into batches of one commit.

Thirty callers that each commit alone wait for thirty flushes of the disk. Here they hand their transfers to one thread of the
process, which books whatever has come within a few milliseconds as one batch; each gets its own answer. The queue is bounded:
when the database cannot keep up, a caller is told so at once instead of waiting behind a thousand others.
"""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.kernel import clock
from app.kernel.db import Database
from app.kernel.errors import Unavailable, msg
from card.ledger import posting, queries
from card.ledger.rules import Outcome, OutcomeStatus, Transfer, UnknownTransfer

BATCH: Final = 2000  # transfers; more change the database's plan for the worse
WAIT_SECONDS: Final = 0.005
WAITING: Final = 4000  # groups that may wait before callers are turned away


class LedgerBusy(Unavailable):
    """More waits to be booked than the database can take; nothing of this request was booked."""

    code = "ledger-busy"
    sentence = msg("The ledger is busy. Nothing was booked; try again in a moment.")
    retry_after_seconds = 1


class OutcomeUnknown(Unavailable):
    """The answer did not come in time. The transfer may or may not be booked: ask by its id, or send it again."""

    code = "outcome-unknown"
    sentence = msg("The answer did not come in time. Asking again with the same number is safe.")
    retry_after_seconds = 1


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """One caller's linked group and where its answer goes."""

    group: Sequence[Transfer]
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

    def post(self, transfers: Sequence[Transfer], *, timeout_seconds: float = 5.0) -> list[Outcome]:
        """Book ``transfers`` as one linked group, in a transaction of their own; refusals are outcomes and are remembered.

        Raises :class:`LedgerBusy` at once when too much is waiting, :class:`OutcomeUnknown` after ``timeout_seconds``.
        """
        waiting = _Waiting(group=transfers)
        self._start()
        try:
            self._queue.put_nowait(waiting)
        except queue.Full as error:
            raise LedgerBusy(f"{self._queue.maxsize} groups wait") from error
        try:
            return waiting.answer.result(timeout_seconds)
        except FutureTimeoutError as error:
            waiting.answer.cancel()
            raise OutcomeUnknown(", ".join(str(transfer.id) for transfer in transfers)) from error

    def close(self) -> None:
        """Book what waits and end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _start(self) -> None:
        """Start the thread on first use, so that a process may fork before it."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ledger-poster", daemon=True)
                    self._thread.start()

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
        """Book a batch; if it fails as a whole, each group alone, so that one caller's fault stays its own."""
        asked = [waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()]
        try:
            with self._database.transaction() as session:
                outcomes = posting.post_groups(session, [waiting.group for waiting in asked], now=clock.now())
        except (SQLAlchemyError, psycopg.Error) as error:
            if len(asked) == 1:
                asked[0].answer.set_exception(error)
                return
            for waiting in asked:
                self._book_alone(waiting)
            return
        except Exception as error:  # noqa: BLE001  whatever it is, the callers must not wait for ever
            for waiting in asked:
                waiting.answer.set_exception(error)
            return
        place = 0
        for waiting in asked:
            waiting.answer.set_result(outcomes[place : place + len(waiting.group)])
            place += len(waiting.group)

    def _book_alone(self, waiting: _Waiting) -> None:
        try:
            with self._database.transaction() as session:
                outcomes = posting.post_groups(session, [waiting.group], now=clock.now())
        except Exception as error:  # noqa: BLE001  the same
            waiting.answer.set_exception(error)
        else:
            waiting.answer.set_result(outcomes)


def outcome_of(session: Session, transfer_id: UUID) -> Outcome:
    """What became of a transfer, for a caller that did not get its answer. Raises :class:`UnknownTransfer` if nothing did."""
    found = queries.known(session, [transfer_id]).get(transfer_id)
    if found is None:
        raise UnknownTransfer(str(transfer_id))
    status = OutcomeStatus.REFUSED if found.refusal else OutcomeStatus.POSTED
    return Outcome(id=transfer_id, status=status, code=found.refusal)
