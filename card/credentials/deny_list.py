"""The deny list: which status indexes a gate must refuse. Pure; exact; a roaring bitmap (https://roaringbitmap.org).

Every change is a delta chained to the one before by digest, so a terminal knows that it missed nothing: the digest after
delta *n* is SHA-256(domain ‖ city ‖ n ‖ previous digest ‖ adds ‖ removes). A base is the whole set at some *n*. A terminal that
cannot chain the next delta takes the next base. Base and deltas travel inside a signed bundle or signed list.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pyroaring import BitMap

from card.credentials import wire
from card.credentials.reasons import CredentialRefused, Reason

CHAIN_START: Final = bytes(32)
_DOMAIN: Final = b"citizen-card/deny-list/1"
INDEX_MAX: Final = 2**32 - 1


def pack(indexes: Iterable[int]) -> bytes:
    """A set of status indexes in the portable roaring format."""
    bitmap = BitMap(indexes)
    bitmap.run_optimize()
    return bytes(bitmap.serialize())


def unpack(data: bytes) -> BitMap:
    """The set behind ``data``; refuses as ``malformed``."""
    try:
        return BitMap.deserialize(data)
    except (ValueError, MemoryError) as error:
        raise CredentialRefused(Reason.MALFORMED, "not a roaring bitmap") from error


def chain(city: str, seq: int, prev_digest: bytes, adds: bytes, removes: bytes) -> bytes:
    """The digest after a delta."""
    return hashlib.sha256(wire.write([_DOMAIN, city, seq, prev_digest, adds, removes])).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """One change: ``adds`` and ``removes`` are packed sets; ``seq`` counts from 1 without gaps."""

    city: str
    seq: int
    prev_digest: bytes
    adds: bytes
    removes: bytes
    digest: bytes

    @classmethod
    def make(cls, *, city: str, seq: int, prev_digest: bytes, adds: Iterable[int], removes: Iterable[int]) -> "Delta":
        """The delta that follows ``prev_digest``."""
        added, removed = pack(adds), pack(removes)
        digest = chain(city, seq, prev_digest, added, removed)
        return cls(city=city, seq=seq, prev_digest=prev_digest, adds=added, removes=removed, digest=digest)

    def document(self) -> dict[str, Any]:
        """As it travels."""
        return {
            "seq": self.seq,
            "prev_digest": self.prev_digest,
            "adds": self.adds,
            "removes": self.removes,
            "digest": self.digest,
        }

    @classmethod
    def read(cls, city: str, document: Any) -> "Delta":
        """A delta as it was sent; its digest is not trusted before :meth:`DenyList.apply`."""
        return cls(
            city=city,
            seq=wire.field(document, "seq", int),
            prev_digest=wire.field(document, "prev_digest", bytes),
            adds=wire.field(document, "adds", bytes),
            removes=wire.field(document, "removes", bytes),
            digest=wire.field(document, "digest", bytes),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DenyList:
    """One city's list after delta ``seq``; ``digest`` is the chain's. Frozen: applying a delta gives a new list."""

    city: str
    seq: int
    digest: bytes
    denied: BitMap

    @classmethod
    def empty(cls, city: str) -> "DenyList":
        """The list before its first delta."""
        return cls(city=city, seq=0, digest=CHAIN_START, denied=BitMap())

    def __contains__(self, status_index: int) -> bool:
        return status_index in self.denied

    def __len__(self) -> int:
        return len(self.denied)

    def base(self) -> bytes:
        """The whole set, packed."""
        return pack(self.denied)

    def apply(self, delta: Delta) -> "DenyList":
        """The list after ``delta``; refuses as ``gap`` what does not follow, as ``bad-signature`` a wrong digest."""
        if delta.city != self.city or delta.seq != self.seq + 1 or delta.prev_digest != self.digest:
            raise CredentialRefused(Reason.GAP, f"delta {delta.seq} after {self.seq} of {self.city}")
        if chain(delta.city, delta.seq, delta.prev_digest, delta.adds, delta.removes) != delta.digest:
            raise CredentialRefused(Reason.BAD_SIGNATURE, f"digest of delta {delta.seq}")
        denied = (self.denied | unpack(delta.adds)) - unpack(delta.removes)
        return DenyList(city=self.city, seq=delta.seq, digest=delta.digest, denied=denied)


def part(base: DenyList | None, deltas: Iterable[Delta]) -> dict[str, Any]:
    """The ``deny`` part of a bundle: ``{base, digest, seq, deltas}``.

    With a base, ``seq`` and ``digest`` are those of the base; without one (``base`` is empty bytes and the receiver has a list
    already) those of the list that the first delta follows.
    """
    sent = list(deltas)
    if base is not None:
        start = {"base": base.base(), "digest": base.digest, "seq": base.seq}
    elif sent:
        start = {"base": b"", "digest": sent[0].prev_digest, "seq": sent[0].seq - 1}
    else:
        start = {"base": b"", "digest": b"", "seq": 0}
    return {**start, "deltas": [delta.document() for delta in sent]}


def take(city: str, held: DenyList | None, document: dict[str, Any]) -> DenyList:
    """The list after the ``deny`` part of a bundle: its base if it brings one, then every delta that is still new.

    Deltas that ``held`` already has are skipped, so a repeated part changes nothing and an older base never takes the list
    back. Refuses as ``gap`` where a delta cannot be chained: keep what is held and ask for a base.
    """
    current = held
    base = document.get("base")
    if isinstance(base, bytes) and base:
        brought = DenyList(
            city=city,
            seq=wire.field(document, "seq", int),
            digest=wire.field(document, "digest", bytes),
            denied=unpack(base),
        )
        if current is None or brought.seq > current.seq:
            current = brought
    if current is None:
        current = DenyList.empty(city)
    for entry in document.get("deltas") or ():
        delta = Delta.read(city, entry)
        if delta.seq > current.seq:
            current = current.apply(delta)
    return current
