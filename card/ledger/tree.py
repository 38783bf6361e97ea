"""A tree that nobody can change unnoticed: the hashes and proofs of RFC 6962, under SHA-256 or SM3.

Pure: it knows bytes, not tables. A leaf is ``H(0x00 ‖ data)``, a node ``H(0x01 ‖ left ‖ right)``; a tree of n leaves splits at
the largest power of two below n. Source: RFC 6962 section 2.1, RFC 9162 section 2.1.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.kernel.sm2 import sm3

Fetch = Callable[[int, int], bytes]  # the hash of the full subtree at (level, index)


class BadProof(ValueError):
    """A proof, a checkpoint or a signature that does not hold; the text says which part."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Which hash and which signature a ledger is sealed with. ``id`` is inside every leaf, so the two can never be confused."""

    id: int
    name: str
    digest: Callable[[bytes], bytes]


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


INTERNATIONAL: Final = Suite(id=1, name="SHA-256 and Ed25519", digest=_sha256)
NATIONAL: Final = Suite(id=2, name="SM3 and SM2", digest=sm3)  # 国密
SUITES: Final = {suite.id: suite for suite in (INTERNATIONAL, NATIONAL)}


def leaf_hash(data: bytes, suite: Suite = INTERNATIONAL) -> bytes:
    """The hash of one leaf."""
    return suite.digest(b"\x00" + data)


def node_hash(left: bytes, right: bytes, suite: Suite = INTERNATIONAL) -> bytes:
    """The hash of the node above two others."""
    return suite.digest(b"\x01" + left + right)


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: Sequence[bytes], suite: Suite = INTERNATIONAL) -> bytes:
    """The root over hashed leaves; of no leaves, the hash of nothing."""
    if not leaves:
        return suite.digest(b"")
    level = list(leaves)
    while len(level) > 1:
        above = [node_hash(level[i], level[i + 1], suite) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def path(leaves: Sequence[bytes], index: int, suite: Suite = INTERNATIONAL) -> list[bytes]:
    """The inclusion path of leaf ``index`` among hashed leaves, nearest first."""
    found = []
    level = list(leaves)
    while len(level) > 1:
        if index ^ 1 < len(level):
            found.append(level[index ^ 1])
        above = [node_hash(level[i], level[i + 1], suite) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level, index = above, index // 2
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
