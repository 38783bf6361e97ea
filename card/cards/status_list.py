"""The deny list as an IETF Token Status List (draft-ietf-oauth-status-list-18), for wallets that read that form. Pure."""

import base64
import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from app.kernel.signing import Key
from card.credentials import cbor, key_id, sign1

LEVEL: Final = 9
BITS: Final = 1  # 0 valid, 1 invalid (section 7.1)
JWT_TYPE: Final = "statuslist+jwt"
CWT_TYPE: Final = "application/statuslist+cwt"
SUB, EXP, IAT, TTL, STATUS_LIST = 2, 4, 6, 65534, 65533  # CWT claims (section 5.2)


def packed(denied: Iterable[int], *, size: int) -> bytes:
    """One bit for each of ``size`` status indexes, the lowest index in the lowest bit, deflated in zlib's frame (section 4.1).

    Indexes of ``size`` and above are left out: such a credential was never issued.
    """
    statuses = bytearray((size + 7) // 8)
    for index in denied:
        if index < size:
            statuses[index >> 3] |= 1 << (index & 7)
    return zlib.compress(bytes(statuses), LEVEL)


def encode(denied: Iterable[int], *, size: int) -> str:
    """``lst`` as JSON carries it: :func:`packed` in base64url without padding (section 4.2)."""
    return base64.urlsafe_b64encode(packed(denied, size=size)).rstrip(b"=").decode()


def decode(lst: str | bytes) -> set[int]:
    """The indexes that are invalid in ``lst``, as JSON or as CBOR carries it."""
    deflated = base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)) if isinstance(lst, str) else lst
    statuses = zlib.decompress(deflated)
    return {8 * place + bit for place, byte in enumerate(statuses) for bit in range(8) if byte >> bit & 1}


def claims(denied: Iterable[int], *, size: int, sub: str, now: datetime, life: timedelta, ttl: timedelta) -> dict[str, Any]:
    """What the JWT says (section 5.1)."""
    return {
        "sub": sub,
        "iat": int(now.timestamp()),
        "exp": int((now + life).timestamp()),
        "ttl": int(ttl.total_seconds()),
        "status_list": {"bits": BITS, "lst": encode(denied, size=size)},
    }


def cwt(key: Key, denied: Iterable[int], *, size: int, sub: str, now: datetime, life: timedelta, ttl: timedelta) -> bytes:
    """The same as a CWT: a COSE_Sign1 whose type is in the protected header (section 5.2)."""
    payload = cbor.write(
        {
            SUB: sub,
            IAT: int(now.timestamp()),
            EXP: int((now + life).timestamp()),
            TTL: int(ttl.total_seconds()),
            STATUS_LIST: {"bits": BITS, "lst": packed(denied, size=size)},
        }
    )
    return sign1.sign(key.private, payload, kid=key_id(key.public_bytes), typ=CWT_TYPE)
