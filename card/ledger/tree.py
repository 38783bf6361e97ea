"""A tree that nobody can change unnoticed: hashes and proofs of RFC 6962, checkpoints and signed notes of C2SP.

Pure: it knows bytes, not tables. A leaf is ``SHA-256(0x00 ‖ data)``, a node ``SHA-256(0x01 ‖ left ‖ right)``; a tree of n
leaves splits at the largest power of two below n.
Sources: RFC 6962 section 2.1; c2sp.org/tlog-checkpoint; c2sp.org/signed-note.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SUITE: Final = 1  # SHA-256 and Ed25519; another number in the leaf would say SM3 and SM2
ED25519: Final = b"\x01"  # the signature type of C2SP signed notes
KEY_HASH: Final = 4  # bytes
SIGNATURE_LINE: Final = "\N{EM DASH} "

Fetch = Callable[[int, int], bytes]  # the hash of the full subtree at (level, index)


class BadProof(ValueError):
    """A proof, a checkpoint or a signature that does not hold; the text says which part."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two others."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over hashed leaves; of no leaves, the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion path of leaf ``index`` among hashed leaves, nearest first."""
    found = []
    level = list(leaves)
    while len(level) > 1:
        if index ^ 1 < len(level):
            found.append(level[index ^ 1])
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level, index = above, index // 2
    return found


def subtree(fetch: Fetch, begin: int, end: int) -> bytes:
    """The hash over leaves ``begin`` to before ``end``, from the stored hashes of full subtrees."""
    size = end - begin
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return fetch(level, begin >> level)
    middle = begin + _split(size)
    return node_hash(subtree(fetch, begin, middle), subtree(fetch, middle, end))


def stored_path(fetch: Fetch, index: int, size: int) -> list[bytes]:
    """The inclusion path of leaf ``index`` in the tree of ``size`` leaves, nearest first."""
    begin, end, found = 0, size, list[bytes]()
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            found.append(subtree(fetch, middle, end))
            end = middle
        else:
            found.append(subtree(fetch, begin, middle))
            begin = middle
    return found[::-1]


def consistency(fetch: Fetch, old: int, size: int) -> list[bytes]:
    """The proof that the tree of ``old`` leaves is the beginning of the tree of ``size`` leaves (RFC 6962 section 2.1.2)."""
    if not 0 < old < size:
        return []

    def walk(begin: int, end: int, upto: int, *, whole: bool) -> list[bytes]:
        if upto == end - begin:
            return [] if whole else [subtree(fetch, begin, end)]
        middle = begin + _split(end - begin)
        if upto <= middle - begin:
            return [*walk(begin, middle, upto, whole=whole), subtree(fetch, middle, end)]
        return [*walk(middle, end, upto - (middle - begin), whole=False), subtree(fetch, begin, middle)]

    return walk(0, size, old, whole=True)


def root_by_path(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root to which an inclusion path leads (RFC 9162 section 2.1.3.2). Raises :class:`BadProof` if it cannot be one."""
    if not 0 <= index < size:
        raise BadProof("the index is not in the tree")
    number, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise BadProof("the path is too long")
        if number & 1 or number == last:
            found = node_hash(sibling, found)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        number, last = number >> 1, last >> 1
    if last:
        raise BadProof("the path is too short")
    return found


def check_consistency(  # noqa: C901  the algorithm of the RFC, line by line
    *, old: int, size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
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
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            newer = node_hash(newer, sibling)
        number, last = number >> 1, last >> 1
    if last or older != old_root or newer != new_root:
        raise BadProof("the newer tree does not begin with the older one")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a city signs: the tree of ``origin`` had ``size`` leaves and this ``root``."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The body that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def key_hash(origin: str, public: bytes) -> bytes:
    """The four bytes by which a signed note names its key."""
    return hashlib.sha256(origin.encode() + b"\n" + ED25519 + public).digest()[:KEY_HASH]


def verifier_key(origin: str, public: bytes) -> str:
    """A public key as people pass it on: ``origin+hash+key``."""
    return f"{origin}+{key_hash(origin, public).hex()}+{base64.b64encode(ED25519 + public).decode()}"


def read_verifier_key(text: str) -> tuple[str, bytes]:
    """The origin and the 32 raw bytes of a verifier key. Raises :class:`BadProof`."""
    origin, _, rest = text.strip().partition("+")
    named, _, encoded = rest.partition("+")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise BadProof("the key is not base64") from error
    if raw[:1] != ED25519 or key_hash(origin, raw[1:]).hex() != named:
        raise BadProof("the key does not fit its name")
    return origin, raw[1:]


def signed_note(checkpoint: Checkpoint, *, public: bytes, sign: Callable[[bytes], bytes]) -> str:
    """A checkpoint with its signature, as text."""
    signature = key_hash(checkpoint.origin, public) + sign(checkpoint.text.encode())
    return f"{checkpoint.text}\n{SIGNATURE_LINE}{checkpoint.origin} {base64.b64encode(signature).decode()}\n"


def read_note(note: str, *, origin: str, public: bytes) -> Checkpoint:
    """The checkpoint of a note that this key signed. Raises :class:`BadProof`."""
    body, _, signatures = note.partition("\n\n")
    lines = body.split("\n")
    try:
        checkpoint = Checkpoint(origin=lines[0], size=int(lines[1]), root=base64.b64decode(lines[2], validate=True))
    except (IndexError, ValueError) as error:
        raise BadProof("the checkpoint cannot be read") from error
    if checkpoint.origin != origin or checkpoint.text != body + "\n":
        raise BadProof("the checkpoint is another ledger's")
    for line in signatures.splitlines():
        name, _, encoded = line.removeprefix(SIGNATURE_LINE).rpartition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if not line.startswith(SIGNATURE_LINE) or name != origin or raw[:KEY_HASH] != key_hash(origin, public):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(raw[KEY_HASH:], checkpoint.text.encode())
        except InvalidSignature as error:
            raise BadProof("the signature does not verify") from error
        return checkpoint
    raise BadProof("this key did not sign the checkpoint")
