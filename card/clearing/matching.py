"""The acquirer's claims against the issuer's debits: one set of Ibis expressions, run on DuckDB inside the process. Pure.

The whole file is compared by its root, then only the buckets whose digests differ are joined: a full outer join by id, the
leftovers by tap (card, counter, terminal). Card, amount and ten minutes make a suggestion and never a match.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import ibis
import pyarrow as pa

from card.clearing import manifest
from card.clearing.rules import PROPOSALS, BreakKind, Charge, Proposal

SUGGESTION_MINUTES: Final = 10


@dataclass(frozen=True, kw_only=True)
class Match:
    """A claim and the debit that meets it."""

    claim: Charge
    debit: Charge


@dataclass(frozen=True, kw_only=True)
class Break:
    """A difference, with what each side recorded and, where one is near, the record it may belong to."""

    kind: BreakKind
    claim: Charge | None
    debit: Charge | None
    suggestion: UUID | None = None

    @property
    def proposal(self) -> Proposal:
        """What ought to be done."""
        return PROPOSALS[self.kind]

    @property
    def charge(self) -> Charge:
        """Whichever record there is, the claim first."""
        found = self.claim or self.debit
        assert found is not None
        return found


@dataclass(frozen=True, kw_only=True)
class Matching:
    """The whole result. ``joined_rows`` counts the claims that had to be joined because their bucket differed."""

    matches: tuple[Match, ...]
    breaks: tuple[Break, ...]
    joined_rows: int

    @property
    def matched_minor(self) -> int:
        """The sum both sides agree on."""
        return sum(match.claim.amount_minor for match in self.matches)

    def positions(self) -> dict[tuple[str, str], int]:
        """(issuer, acquirer) → matched sum."""
        found: dict[tuple[str, str], int] = {}
        for match in self.matches:
            pair = (match.claim.issuer, match.claim.acquirer)
            found[pair] = found.get(pair, 0) + match.claim.amount_minor
        return found


def match(claims: Sequence[Charge], debits: Sequence[Charge], *, theirs: Mapping[str, str] | None = None) -> Matching:
    """Match ``claims`` with ``debits``. ``theirs`` are the bucket digests of the manifest, which need no second computing."""
    claims, debits = manifest.ordered(claims), manifest.ordered(debits)
    theirs = manifest.buckets(claims) if theirs is None else theirs
    ours = manifest.buckets(debits)
    alike = {name for name, digest in theirs.items() if ours.get(name) == digest}
    matches, rest_claims, rest_debits = _alike(claims, debits, alike)
    breaks: list[Break] = []
    if rest_claims or rest_debits:
        joined, breaks = _join(rest_claims, rest_debits)
        matches += joined
    return Matching(
        matches=tuple(sorted(matches, key=lambda item: item.claim.id)),
        breaks=tuple(sorted(breaks, key=lambda item: (item.charge.id, item.kind))),
        joined_rows=len(rest_claims),
    )


def _alike(
    claims: Sequence[Charge], debits: Sequence[Charge], alike: set[str]
) -> tuple[list[Match], list[Charge], list[Charge]]:
    """Pairs from equal buckets (the order by id is the same on both sides), and what is left of each side."""
    same_claims, rest_claims = _split(claims, alike)
    same_debits, rest_debits = _split(debits, alike)
    pairs = [Match(claim=claim, debit=debit) for claim, debit in zip(same_claims, same_debits, strict=True)]
    seen: set[UUID] = set()
    for pair in [pair for pair in pairs if pair.claim.id in seen or seen.add(pair.claim.id)]:  # type: ignore[func-returns-value]
        rest_claims.append(pair.claim)  # a copy on both sides is still a copy
        pairs.remove(pair)
    return pairs, rest_claims, rest_debits


def _split(charges: Sequence[Charge], alike: set[str]) -> tuple[list[Charge], list[Charge]]:
    same: list[Charge] = []
    rest: list[Charge] = []
    for charge in charges:
        (same if manifest.bucket(charge) in alike else rest).append(charge)
    return same, rest


def _rows(charges: Sequence[Charge]) -> pa.Table:
    numbered = manifest.table(charges)
    return numbered.append_column("row", pa.array(range(len(charges)), pa.int64()))


def _join(claims: list[Charge], debits: list[Charge]) -> tuple[list[Match], list[Break]]:
    claims, debits = manifest.ordered(claims), manifest.ordered(debits)
    connection = ibis.duckdb.connect()
    for name, charges in (("claims", claims), ("debits", debits)):
        connection.con.register(name, _rows(charges))  # DuckDB reads the Arrow buffers where they are
    verdicts = classify(connection.table("claims"), connection.table("debits")).to_pyarrow().to_pylist()
    connection.disconnect()
    matches: list[Match] = []
    breaks: list[Break] = []
    for verdict in verdicts:
        claim = None if verdict["claim"] is None else claims[verdict["claim"]]
        debit = None if verdict["debit"] is None else debits[verdict["debit"]]
        if verdict["kind"] == "matched":
            assert claim is not None
            assert debit is not None
            matches.append(Match(claim=claim, debit=debit))
        else:
            near = verdict["suggestion"]
            breaks.append(
                Break(
                    kind=BreakKind(verdict["kind"]), claim=claim, debit=debit, suggestion=None if near is None else UUID(near)
                )
            )
    return matches, breaks


def classify(claimed: ibis.Table, debited: ibis.Table) -> ibis.Table:
    """One row a verdict: ``claim`` and ``debit`` (row numbers or null), ``kind``, ``suggestion`` (an id or null).

    Written once for every engine: DuckDB here, Spark where a province outgrows a machine.
    """
    copies = claimed.mutate(copy=ibis.row_number().over(ibis.window(group_by=claimed.id, order_by=claimed.row)))
    nothing = ibis.null("int64")
    duplicates = copies.filter(copies.copy > 0).select(
        claim="row", debit=nothing, kind=ibis.literal(str(BreakKind.DUPLICATE)), suggestion=ibis.null("string")
    )
    firsts = copies.filter(copies.copy == 0).drop("copy")
    debits = debited.rename(lambda name: f"d_{name}")
    joined = firsts.outer_join(debits, firsts.id == debits.d_id)
    same_pair = (joined.issuer == joined.d_issuer) & (joined.acquirer == joined.d_acquirer)
    both = joined.filter(joined.id.notnull() & joined.d_id.notnull()).select(
        claim="row",
        debit="d_row",
        kind=ibis.cases(
            (~same_pair, str(BreakKind.WRONG_PAIR)),
            (joined.window != joined.d_window, str(BreakKind.WINDOW)),
            (joined.amount_minor != joined.d_amount_minor, str(BreakKind.AMOUNT)),
            else_="matched",
        ),
        suggestion=ibis.null("string"),
    )
    left = joined.filter(joined.d_id.isnull()).select(*firsts.columns)
    right = joined.filter(joined.id.isnull()).select(*debits.columns)
    by_tap = left.inner_join(
        right,
        [
            left.card_number == right.d_card_number,
            left.counter == right.d_counter,
            left.terminal_id == right.d_terminal_id,
            left.issuer == right.d_issuer,
            left.acquirer == right.d_acquirer,
            left.kind == right.d_kind,
            left.amount_minor.sign() == right.d_amount_minor.sign(),
        ],
    )
    first_claim = ibis.row_number().over(ibis.window(group_by=by_tap.row, order_by=by_tap.d_row))
    first_debit = ibis.row_number().over(ibis.window(group_by=by_tap.d_row, order_by=by_tap.row))
    taps = by_tap.mutate(nth_claim=first_claim, nth_debit=first_debit)
    taps = taps.filter((taps.nth_claim == 0) & (taps.nth_debit == 0))
    same_tap = taps.select(
        claim="row",
        debit="d_row",
        kind=ibis.ifelse(taps.amount_minor == taps.d_amount_minor, "matched", str(BreakKind.AMOUNT)),
        suggestion=ibis.null("string"),
    )
    left = left.anti_join(same_tap, left.row == same_tap.claim)
    right = right.anti_join(same_tap, right.d_row == same_tap.debit)
    near = left.inner_join(right, [left.card_number == right.d_card_number, left.amount_minor == right.d_amount_minor])
    apart = (near.event_at.epoch_seconds() - near.d_event_at.epoch_seconds()).abs()
    near = near.filter(apart <= SUGGESTION_MINUTES * 60)
    to_debit = near.group_by("row").aggregate(suggestion=near.d_id.min()).rename(near_row="row")
    to_claim = near.group_by("d_row").aggregate(suggestion=near.id.min()).rename(near_row="d_row")
    claims_alone = left.left_join(to_debit, left.row == to_debit.near_row).select(
        claim="row", debit=nothing, kind=ibis.literal(str(BreakKind.ACQUIRER_ONLY)), suggestion="suggestion"
    )
    debits_alone = right.left_join(to_claim, right.d_row == to_claim.near_row).select(
        claim=nothing, debit="d_row", kind=ibis.literal(str(BreakKind.ISSUER_ONLY)), suggestion="suggestion"
    )
    return ibis.union(duplicates, both, same_tap, claims_alone, debits_alone, distinct=False)
