"""What caps and month tickets make of a card's earlier fares: sums over windows that follow the list of fares as it grows.

The list belongs to the :class:`~card.fares.charging.Meter` and holds instant, operator and amount after caps, in the order of
travel. A window reads it only when it is asked, from where it stopped.
"""

import math
from bisect import bisect_right, insort
from datetime import datetime
from operator import itemgetter
from typing import Final

from card.fares.compiled import CapTerms, Day, PassTerms, Ticket

Fares = list[tuple[datetime, str, int]]
Cut = tuple[CapTerms, int]
"""A cap, and what it took off."""

_AT: Final = itemgetter(0)
_MONTH: Final = 3  # in Day.before


class Spent:
    """What a window has seen of the card's fares. Caps that look back alike share it, whatever their amounts."""

    __slots__ = ("_bucket", "_head", "_length", "_operators", "_tail", "_total")

    def __init__(self, terms: CapTerms) -> None:
        self._operators, self._bucket, self._length = terms.operators, terms.bucket, terms.length
        self._head = self._tail = -1
        self._total = 0

    def within(self, fares: Fares, day: Day, at: datetime) -> int:
        """What the fares before a journey at ``at`` come to, as far as they lie in the window that ends there."""
        oldest = day.before[self._bucket] if self._bucket else at - self._length
        head, tail, total, operators = self._head, self._tail, self._total, self._operators
        if head < 0:
            head = tail = bisect_right(fares, oldest, key=_AT)
        if head < len(fares):
            for _, operator, fare in fares[head:]:
                if operator in operators:
                    total += fare
            self._head = len(fares)
        while tail < len(fares):
            begun, operator, fare = fares[tail]
            if begun > oldest:
                break
            if operator in operators:
                total -= fare
            tail += 1
        self._tail, self._total = tail, total
        return total


class Caps:
    """The caps on a card's journeys with one operator on one day.

    ``free_until`` is what the card may have paid to the meter, whoever to, before one of them can matter again.
    """

    __slots__ = ("_capped", "_day", "free_until")

    def __init__(self, capped: list[tuple[CapTerms, Spent]], day: Day) -> None:
        self._capped, self._day = capped, day
        self.free_until: float = -1

    def cut(self, fares: Fares, paid: int, at: datetime, amount: int) -> tuple[int, list[Cut]]:
        """What the caps leave of ``amount`` for a journey at ``at``, and what each took off; ``paid`` was paid before it."""
        cuts: list[Cut] = []
        tightest: float = math.inf
        for cap, spent in self._capped:
            room = cap.amount - spent.within(fares, self._day, at)
            tightest = min(tightest, room)
            if amount > room:
                left = max(0, room)
                cuts.append((cap, left - amount))
                amount = left
                if not left:
                    break
        self.free_until = paid + tightest
        return amount, cuts


class Month:
    """The singles of a card with one operator since the month began, and what month tickets would have made of them.

    ``_dearest`` holds them negative, the dearest first. ``_covered`` is what those come to that each ticket would cover, and
    ``_saved``, not above zero, what the best ticket takes off them all.
    """

    __slots__ = ("_before", "_covered", "_dearest", "_head", "_operator", "_saved", "_terms", "_total")

    def __init__(self, operator: str) -> None:
        self._operator = operator
        self._before: datetime | None = None
        self._head = self._total = self._saved = 0
        self._dearest: list[int] = []
        self._covered: list[int] | None = None
        self._terms: PassTerms | None = None

    def open(self, fares: Fares, day: Day, terms: PassTerms) -> None:
        """Let journeys of ``day`` follow, of a rider to whom the tickets of ``terms`` are open."""
        before = day.before[_MONTH]
        if before != self._before:
            self._before, self._head = before, bisect_right(fares, before, key=_AT)
            self._total, self._dearest, self._covered = 0, [], None
        if terms is not self._terms:
            self._terms, self._covered = terms, None

    def due(self, fares: Fares, amount: int) -> tuple[int, Ticket | None]:
        """What a single of ``amount`` costs, and the ticket that decides it.

        ``fares`` are those before it; the single is counted with them, and must be the next to join the list.
        """
        terms, dearest = self._terms, self._dearest
        assert terms is not None
        if self._head < len(fares):
            missed = [-fare for _, operator, fare in fares[self._head :] if operator == self._operator]
            if missed:
                self._total -= sum(missed)
                self._covered = None
                dearest += missed
                dearest.sort()
        self._head = len(fares) + 1
        self._total += amount
        if self._total <= terms.cheapest:
            insort(dearest, -amount)
            self._covered = None
            return amount, None
        covered, count = self._covered, len(dearest)
        if covered is None:
            covered = self._covered = [-sum(dearest[: ticket.rides]) for ticket in terms.tickets]
            self._saved = min(0, *(ticket.price - rides for ticket, rides in zip(terms.tickets, covered, strict=True)))
        saved, chosen = 0, None
        for number, ticket in enumerate(terms.tickets):
            rides = covered[number]
            if count < ticket.rides:
                rides += amount
            elif amount > -dearest[ticket.rides - 1]:  # it takes the place of the cheapest ride under the ticket
                rides += amount + dearest[ticket.rides - 1]
            covered[number] = rides
            if ticket.price - rides < saved:
                saved, chosen = ticket.price - rides, ticket
        insort(dearest, -amount)
        due = amount + saved - self._saved
        self._saved = saved
        return due, (chosen if due < amount else None)
