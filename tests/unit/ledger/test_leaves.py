"""What is hashed: each leaf says all that it was made of, in one way only."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from card.ledger import leaves, tree
from card.ledger.leaves import AccountLeaf, BatchLeaf, TransferLeaf
from card.ledger.tree import INTERNATIONAL, NATIONAL, BadProof

ID = UUID("019aab3c-7f00-7000-8000-000000000001")
FARE = TransferLeaf(
    id=ID,
    debit=17,
    credit=3,
    amount_minor=350,
    code=10,
    event_us=leaves.instant_us(datetime(2026, 11, 22, 6, 0, tzinfo=UTC)),
    debit_after_minor=4650,
    credit_after_minor=None,
    reference="journey:1",
    metadata=None,
    reverses=None,
)
# Layouts do not drift: whoever verifies has a program of their own.
FARE_BYTES = (
    "01"  # the suite
    "54"  # T
    "01"  # the running balance of the debit side follows
    "000000000000122a"  # 46.50
    "000a"  # fare
    "019aab3c7f0070008000000000000001"
    "0000000000000011"
    "0000000000000003"
    "000000000000015e"  # 3.50
    "000303d5f4cb1800"  # 2026-11-22 06:00 UTC
    "6a6f75726e65793a31"  # journey:1
)

texts = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
numbers = some.integers(-(2**63), 2**63 - 1)
transfers = some.builds(
    TransferLeaf,
    id=some.uuids(),
    debit=numbers,
    credit=numbers,
    amount_minor=numbers,
    code=some.integers(-(2**15), 2**15 - 1),
    event_us=numbers,
    debit_after_minor=some.none() | numbers,
    credit_after_minor=some.none() | numbers,
    reference=texts,
    metadata=some.none() | texts,
    reverses=some.none() | some.uuids(),
)


def test_a_transfer_is_written_as_it_is_published() -> None:
    assert FARE.write(INTERNATIONAL).hex() == FARE_BYTES
    assert FARE.write(NATIONAL).hex() == "02" + FARE_BYTES[2:]
    assert leaves.instant_at(FARE.event_us) == datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


@given(transfers)
def test_a_transfer_is_read_as_it_was_written(leaf: TransferLeaf) -> None:
    """So no two transfers have the same bytes."""
    assert TransferLeaf.read(leaf.write(INTERNATIONAL)) == leaf


@given(
    some.builds(
        BatchLeaf,
        batch_no=numbers,
        transfers=some.integers(0, 2**31 - 1),
        total_minor=numbers,
        posted_us=numbers,
        shard=some.integers(0, 2**15 - 1),
        root=some.binary(min_size=32, max_size=32),
        records=some.just(b"") | some.binary(min_size=32, max_size=32),
    )
)
def test_a_batch_is_read_as_it_was_written(leaf: BatchLeaf) -> None:
    assert BatchLeaf.read(leaf.write(INTERNATIONAL)) == leaf


@pytest.mark.parametrize("read", [TransferLeaf.read, AccountLeaf.read, BatchLeaf.read])
def test_bytes_that_end_too_early_are_refused(read: object) -> None:
    for data in (b"", b"\x01", b"\x01T\x03" + bytes(20), b"\x01A" + bytes(20)):
        with pytest.raises(BadProof):
            read(data)


def test_a_leaf_of_one_kind_is_never_taken_for_another() -> None:
    data = FARE.write(INTERNATIONAL)
    assert leaves.suite_of(data, leaves.TRANSFER) == 1
    for letter in (leaves.ACCOUNT, leaves.REFUSAL, leaves.BATCH):
        with pytest.raises(BadProof):
            leaves.suite_of(data, letter)
    with pytest.raises(BadProof):
        leaves.suite_of(b"", leaves.TRANSFER)


@pytest.mark.parametrize("suite", [INTERNATIONAL, NATIONAL])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 64, 65, 100])
def test_a_tree_over_blocks_is_the_tree_over_their_leaves(suite: tree.Suite, count: int) -> None:
    hashes = [tree.leaf_hash(str(n).encode(), suite) for n in range(count)]
    for size in (1, 2, 32, 64):
        blocks = tree.blocks(b"".join(hashes), size, suite)
        assert tree.split(blocks) == [tree.root(hashes[at : at + size], suite) for at in range(0, count, size)]
        assert tree.fold(blocks, suite) == tree.root(hashes, suite)


def test_an_instant_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(BadProof):
        leaves.instant_at(2**63 - 1)


@pytest.mark.parametrize("length", range(130))
def test_bytes_that_are_no_whole_hashes_lead_to_an_end(length: int) -> None:
    """Somebody may have made a stored hash longer or shorter; the check must say so and not fold for ever."""
    assert len(tree.fold(bytes(length))) <= tree.HASH
