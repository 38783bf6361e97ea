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

    def check(self, *, city: str, seq: int, digest: bytes) -> None:
        """That it follows the list of ``city`` at ``seq`` with ``digest``; refuses as :meth:`DenyList.apply` says."""
        if self.city != city or self.seq != seq + 1 or self.prev_digest != digest:
            raise CredentialRefused(Reason.GAP, f"delta {self.seq} after {seq} of {city}")
        if chain(self.city, self.seq, self.prev_digest, self.adds, self.removes) != self.digest:
            raise CredentialRefused(Reason.BAD_SIGNATURE, f"digest of delta {self.seq}")


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
        delta.check(city=self.city, seq=self.seq, digest=self.digest)
        return self.follow((delta,))

    def follow(self, deltas: Iterable[Delta]) -> "DenyList":
        """The list after deltas that were checked before, as :meth:`apply` does: one copy of the set for all of them."""
        seq, digest, denied = self.seq, self.digest, None
        for delta in deltas:
            denied = self.denied.copy() if denied is None else denied
            denied |= unpack(delta.adds)
            denied -= unpack(delta.removes)
            seq, digest = delta.seq, delta.digest
        return self if denied is None else DenyList(city=self.city, seq=seq, digest=digest, denied=denied)


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
    return news(city, held, document)[0]


def news(city: str, held: DenyList | None, document: dict[str, Any]) -> tuple[DenyList, list[Delta] | None]:
    """As :func:`take`, with the deltas that lead from ``held`` to the list; ``None`` where a base took its place."""
    start = held
    base = document.get("base")
    if isinstance(base, bytes) and base:
        seq, digest = wire.field(document, "seq", int), wire.field(document, "digest", bytes)
        if start is None or seq > start.seq:
            start = DenyList(city=city, seq=seq, digest=digest, denied=unpack(base))
    current = start if start is not None else DenyList.empty(city)
    seq, digest, new = current.seq, current.digest, []
    for entry in document.get("deltas") or ():
        delta = Delta.read(city, entry)
        if delta.seq > seq:
            delta.check(city=city, seq=seq, digest=digest)
            seq, digest = delta.seq, delta.digest
            new.append(delta)
    return current.follow(new), new if held is not None and current is held else None
