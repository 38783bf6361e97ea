"""SM3 digests and SM2 signatures: the national suite (国密) beside SHA-256 and Ed25519.

SM3 is OpenSSL's. SM2 signs with integers of our own, since no library we carry offers it: Jacobian coordinates, a table of the
generator's multiples. Integers of Python take time that depends on their value; a key that strangers may time belongs in a
hardware module, which signs through the same three numbers.
Sources: GB/T 32905 (SM3); GB/T 32918.2 (signature), .5 (the curve and the worked example that the tests repeat).
"""

import functools
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes

P: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF  # the field
A: Final = P - 3
B: Final = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
N: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123  # the order of the group
G: Final = (
    0x32C4AE2C_1F198119_5F990446_6A39C994_8FE30BBF_F2660BE1_715A4589_334C74C7,
    0xBC3736A2_F4F6779C_59BDCEE3_6B692153_D0A9877C_C62A4740_02DF32E5_2139F0A0,
)
DEFAULT_ID: Final = b"1234567812345678"  # the signer's name where an application gives none (GM/T 0009 section 10)
SIZE: Final = 32  # bytes of a number
DIGEST: Final = 32
SIGNATURE: Final = 2 * SIZE  # r ‖ s
PUBLIC: Final = 1 + 2 * SIZE  # 0x04 ‖ x ‖ y
WINDOW: Final = 4  # bits of a scalar taken at once
MASK: Final = (1 << WINDOW) - 1
DIGITS: Final = 8 * SIZE // WINDOW

Affine = tuple[int, int]
Jacobian = tuple[int, int, int]  # x / z², y / z³; z = 0 is the point at infinity
INFINITY: Final[Jacobian] = (1, 1, 0)


class BadSm2(ValueError):
    """A key or a signature that is not one of SM2, or that does not verify; the text says which."""


def sm3(data: bytes) -> bytes:
    """The 32-byte SM3 digest of ``data``."""
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize()


def _twice(point: Jacobian) -> Jacobian:
    x, y, z = point
    if not z:
        return INFINITY
    squared = y * y % P
    between = 4 * x * squared % P
    zz = z * z % P
    slope = 3 * (x - zz) * (x + zz) % P  # 3x² + a·z⁴ with a = -3
    found_x = (slope * slope - 2 * between) % P
    return found_x, (slope * (between - found_x) - 8 * squared * squared) % P, 2 * y * z % P


def _plus(point: Jacobian, other: Affine) -> Jacobian:
    """``point`` and an affine point."""
    x, y, z = point
    if not z:
        return other[0], other[1], 1
    zz = z * z % P
    wide = (other[0] * zz - x) % P
    high = (other[1] * zz * z - y) % P
    if not wide:
        return INFINITY if high else _twice(point)
    ww = wide * wide % P
    www = ww * wide % P
    middle = x * ww % P
    found_x = (high * high - www - 2 * middle) % P
    return found_x, (high * (middle - found_x) - y * www) % P, z * wide % P


def _affine(points: list[Jacobian]) -> list[Affine]:
    """The affine forms of ``points``, none at infinity, for the price of one inversion."""
    products, running = [], 1
    for point in points:
        products.append(running)
        running = running * point[2] % P
    inverse, found = pow(running, -1, P), list[Affine]()
    for (x, y, z), before in zip(reversed(points), reversed(products), strict=True):
        own = inverse * before % P
        inverse = inverse * z % P
        square = own * own % P
        found.append((x * square % P, y * square * own % P))
    return found[::-1]


def _multiples(point: Affine) -> list[Affine]:
    """One to fifteen times ``point``."""
    found: list[Jacobian] = [(*point, 1)]
    for _ in range(MASK - 1):
        found.append(_plus(found[-1], point) if len(found) > 1 else _twice(found[-1]))
    return _affine(found)


@functools.lru_cache(maxsize=32)
def _table(point: Affine) -> tuple[list[Affine], ...]:
    """For each digit of a scalar, its fifteen multiples of ``point``: then a product needs no doubling."""
    rows, base = [], point
    for _ in range(DIGITS):
        rows.append(_multiples(base))
        base = _affine([_plus((*rows[-1][-1], 1), base)])[0]
    return tuple(rows)


def _times_known(scalar: int, point: Affine, found: Jacobian = INFINITY) -> Jacobian:
    """``found`` and ``scalar`` times a point that is used again and again."""
    for row in _table(point):
        digit = scalar & MASK
        if digit:
            found = _plus(found, row[digit - 1])
        scalar >>= WINDOW
    return found


def _times(scalar: int, point: Affine) -> Jacobian:
    """``scalar`` times a point that is met once."""
    multiples, found = _multiples(point), INFINITY
    for place in range(DIGITS - 1, -1, -1):
        found = _twice(_twice(_twice(_twice(found))))
        digit = (scalar >> (WINDOW * place)) & MASK
        if digit:
            found = _plus(found, multiples[digit - 1])
    return found


def _number(value: int) -> bytes:
    return value.to_bytes(SIZE, "big")


def _read(data: bytes) -> int:
    return int.from_bytes(data, "big")


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """A point of the curve."""

    x: int
    y: int

    def __post_init__(self) -> None:
        if not (0 <= self.x < P and 0 <= self.y < P) or (self.y * self.y - self.x**3 - A * self.x - B) % P:
            raise BadSm2("the key is not a point of the curve")

    @classmethod
    def from_bytes(cls, data: bytes) -> "PublicKey":
        """A key of 65 bytes, ``0x04 ‖ x ‖ y``. Raises :class:`BadSm2`."""
        if len(data) != PUBLIC or data[0] != 4:  # noqa: PLR2004  the mark of an uncompressed point
            raise BadSm2("a public key has 65 bytes and begins with 04")
        return cls(x=_read(data[1 : 1 + SIZE]), y=_read(data[1 + SIZE :]))

    def to_bytes(self) -> bytes:
        """The 65 bytes ``0x04 ‖ x ‖ y``."""
        return b"\x04" + _number(self.x) + _number(self.y)

    def identity_digest(self, signer: bytes = DEFAULT_ID) -> bytes:
        """Z: the digest of the signer's name, the curve and the key, with which every message begins (section 5.5)."""
        return sm3(
            (8 * len(signer)).to_bytes(2, "big") + signer + b"".join(_number(value) for value in (A, B, *G, self.x, self.y))
        )

    def verify(self, signature: bytes, message: bytes, *, signer: bytes = DEFAULT_ID, familiar: bool = False) -> None:
        """Raise :class:`BadSm2` unless this key signed ``message`` as ``signer`` (section 7).

        A ``familiar`` key keeps a table of its multiples: twenty milliseconds once, then three times as fast.
        """
        if len(signature) != SIGNATURE:
            raise BadSm2("a signature has 64 bytes")
        r, s = _read(signature[:SIZE]), _read(signature[SIZE:])
        t = (r + s) % N
        if not (0 < r < N and 0 < s < N and t):
            raise BadSm2("the signature is out of range")
        own = (self.x, self.y)
        point = _times_known(s, G, _times_known(t, own) if familiar else _times(t, own))
        if not point[2]:
            raise BadSm2("the signature does not verify")
        found = (_read(sm3(self.identity_digest(signer) + message)) + _affine([point])[0][0]) % N
        if not hmac.compare_digest(_number(found), signature[:SIZE]):
            raise BadSm2("the signature does not verify")


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A number between 1 and the order of the group less two."""

    secret: int = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.secret < N - 1:
            raise BadSm2("the private key is out of range")

    @classmethod
    def generate(cls) -> "PrivateKey":
        """A fresh key."""
        return cls(secret=1 + secrets.randbelow(N - 2))

    @classmethod
    def from_bytes(cls, data: bytes) -> "PrivateKey":
        """A key of 32 bytes. Raises :class:`BadSm2`."""
        if len(data) != SIZE:
            raise BadSm2("a private key has 32 bytes")
        return cls(secret=_read(data))

    def to_bytes(self) -> bytes:
        """The 32 bytes of the key."""
        return _number(self.secret)

    @functools.cached_property
    def public(self) -> PublicKey:
        """The public half."""
        x, y = _affine([_times_known(self.secret, G)])[0]
        return PublicKey(x=x, y=y)

    def sign(self, message: bytes, *, signer: bytes = DEFAULT_ID, nonce: int | None = None) -> bytes:
        """The 64 bytes ``r ‖ s`` over ``message`` (section 6). Only a test of the published example gives the ``nonce``."""
        digest = _read(sm3(self.public.identity_digest(signer) + message))
        while True:
            k = nonce if nonce is not None else 1 + secrets.randbelow(N - 1)
            r = (digest + _affine([_times_known(k, G)])[0][0]) % N
            s = pow(1 + self.secret, -1, N) * (k - r * self.secret) % N
            if r and s and r + k != N:
                return _number(r) + _number(s)
            assert nonce is None, "this nonce cannot sign this message"
