"""A tree that nobody can change unnoticed: the hashes and proofs of RFC 6962, under SHA-256 or SM3.

Pure: it knows bytes, not tables. A leaf is ``H(0x00 ‖ data)``, a node ``H(0x01 ‖ left ‖ right)``; a tree of n leaves splits at
the largest power of two below n. Source: RFC 6962 section 2.1, RFC 9162 section 2.1.

Where thousands of hashes are folded they stand in one string of bytes, 32 after 32: a list of small ones costs as much as
hashing them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from app.kernel.sm2 import sm3

HASH: Final = 32  # bytes, in either suite
LEAF: Final = b"\x00"  # what a leaf is hashed behind
NODE: Final = b"\x01"  # what the two below a node are hashed behind
Fetch = Callable[[int, int], bytes]  # the hash of the full subtree at (level, index)


class BadProof(ValueError):
    """A proof, a checkpoint or a signature that does not hold; the text says which part."""


class Hashed(Protocol):
    """A message that was hashed, as ``hashlib`` gives it."""

    def digest(self) -> bytes:
        """Its 32 bytes."""


class Sm3:
    """``hashlib.sha256`` for SM3."""

    def __init__(self, data: bytes) -> None:
        self._digest = sm3(data)

    def digest(self) -> bytes:
        """The 32 bytes."""
        return self._digest


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Which hash and which signature a ledger is sealed with. ``id`` is inside every leaf, so the two can never be confused.

    ``in_sql`` is the function by which PostgreSQL takes the same hash itself, if it can.
    """

    id: int
    name: str
    hash: Callable[[bytes], Hashed]
    in_sql: str | None = None

    def digest(self, data: bytes) -> bytes:
        """The hash of ``data``."""
        return self.hash(data).digest()


INTERNATIONAL: Final = Suite(id=1, name="SHA-256 and Ed25519", hash=hashlib.sha256, in_sql="pg_catalog.sha256")
NATIONAL: Final = Suite(id=2, name="SM3 and SM2", hash=Sm3)  # 国密
SUITES: Final = {suite.id: suite for suite in (INTERNATIONAL, NATIONAL)}


def leaf_hash(data: bytes, suite: Suite = INTERNATIONAL) -> bytes:
    """The hash of one leaf."""
    return suite.digest(LEAF + data)


def node_hash(left: bytes, right: bytes, suite: Suite = INTERNATIONAL) -> bytes:
    """The hash of the node above two others."""
    return suite.digest(NODE + left + right)


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def above(joined: bytes, suite: Suite = INTERNATIONAL) -> bytes:
    """The level above hashes that stand one after another; one without a neighbour goes up as it is.

    Bytes that are no whole hashes, as after a change behind our back, lead to some other root, and to an end.
    """
    hashed, paired = suite.hash, (len(joined) + HASH - 1) // (2 * HASH) * 2 * HASH
    found = [hashed(NODE + joined[at : at + 2 * HASH]).digest() for at in range(0, paired, 2 * HASH)]
    if paired < len(joined):
        found.append(joined[paired:])
    return b"".join(found)


def fold(joined: bytes, suite: Suite = INTERNATIONAL) -> bytes:
    """The root over hashed leaves that stand one after another; of no leaves, the hash of nothing."""
    if not joined:
        return suite.digest(b"")
    while len(joined) > HASH:
        joined = above(joined, suite)
    return joined


def blocks(joined: bytes, size: int, suite: Suite = INTERNATIONAL) -> bytes:
    """The roots of blocks of ``size`` leaves, a power of two: the leaves of a tree that has the same root."""
    for _ in range(size.bit_length() - 1):
        joined = above(joined, suite)
    return joined


def split(joined: bytes) -> list[bytes]:
    """Hashes that stand one after another, each for itself."""
    return [joined[at : at + HASH] for at in range(0, len(joined), HASH)]


def root(leaves: Sequence[bytes], suite: Suite = INTERNATIONAL) -> bytes:
    """The root over hashed leaves."""
    return fold(b"".join(leaves), suite)


def path(leaves: Sequence[bytes], index: int, suite: Suite = INTERNATIONAL) -> list[bytes]:
    """The inclusion path of leaf ``index`` among hashed leaves, nearest first."""
    found, level = list[bytes](), b"".join(leaves)
    while len(level) > HASH:
        sibling = (index ^ 1) * HASH
        if sibling < len(level):
            found.append(level[sibling : sibling + HASH])
        level, index = above(level, suite), index // 2
    return found


def subtree(fetch: Fetch, begin: int, end: int, suite: Suite = INTERNATIONAL) -> bytes:
    """The hash over leaves ``begin`` to before ``end``, from the stored hashes of full subtrees."""
    size = end - begin
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return fetch(level, begin >> level)
    middle = begin + _split(size)
    return node_hash(subtree(fetch, begin, middle, suite), subtree(fetch, middle, end, suite), suite)


def stored_path(fetch: Fetch, index: int, size: int, suite: Suite = INTERNATIONAL) -> list[bytes]:
    """The inclusion path of leaf ``index`` in the tree of ``size`` leaves, nearest first."""
    begin, end, found = 0, size, list[bytes]()
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            found.append(subtree(fetch, middle, end, suite))
            end = middle
        else:
            found.append(subtree(fetch, begin, middle, suite))
            begin = middle
    return found[::-1]


def consistency(fetch: Fetch, old: int, size: int, suite: Suite = INTERNATIONAL) -> list[bytes]:
    """The proof that the tree of ``old`` leaves is the beginning of the tree of ``size`` leaves (RFC 6962 section 2.1.2)."""
    if not 0 < old < size:
        return []

    def walk(begin: int, end: int, upto: int, *, whole: bool) -> list[bytes]:
        if upto == end - begin:
            return [] if whole else [subtree(fetch, begin, end, suite)]
        middle = begin + _split(end - begin)
        if upto <= middle - begin:
            return [*walk(begin, middle, upto, whole=whole), subtree(fetch, middle, end, suite)]
        return [*walk(middle, end, upto - (middle - begin), whole=False), subtree(fetch, begin, middle, suite)]

    return walk(0, size, old, whole=True)


def root_by_path(leaf: bytes, index: int, size: int, proof: Sequence[bytes], suite: Suite = INTERNATIONAL) -> bytes:
    """The root to which an inclusion path leads (RFC 9162 section 2.1.3.2). Raises :class:`BadProof` if it cannot be one."""
    if not 0 <= index < size:
        raise BadProof("the index is not in the tree")
    number, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise BadProof("the path is too long")
        if number & 1 or number == last:
            found = node_hash(sibling, found, suite)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, sibling, suite)
        number, last = number >> 1, last >> 1
    if last:
        raise BadProof("the path is too short")
    return found


def check_consistency(  # noqa: C901  the algorithm of the RFC, line by line
    *, old: int, size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes], suite: Suite = INTERNATIONAL
) -> None:
    """Raise :class:`BadProof` unless the newer tree begins with the older one (RFC 9162 section 2.1.4.2)."""
    if old == size:
        if old_root != new_root or proof:
            raise BadProof("two roots for one size")
        return
    if not 0 < old < size:
        raise BadProof("the older tree is not the smaller one")
    hashes = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not hashes:
        raise BadProof("the proof is empty")
    number, last = old - 1, size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    older = newer = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise BadProof("the proof is too long")
        if number & 1 or number == last:
            older, newer = node_hash(sibling, older, suite), node_hash(sibling, newer, suite)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling, suite)
        number, last = number >> 1, last >> 1
    if last or older != old_root or newer != new_root:
        raise BadProof("the newer tree does not begin with the older one")
