"""The deny list as an IETF Token Status List (draft-ietf-oauth-status-list), for wallets that read that form. Pure."""

import base64
import zlib
from collections.abc import Iterable

LEVEL = 9
BITS = 1  # 0 valid, 1 invalid (section 7.1)


def encode(denied: Iterable[int], *, size: int) -> str:
    """``lst``: one bit for each of ``size`` status indexes, the lowest index in the lowest bit; zlib; base64url.

    Indexes of ``size`` and above are left out: such a credential was never issued.
    """
    statuses = bytearray((size + 7) // 8)
    for index in denied:
        if index < size:
            statuses[index >> 3] |= 1 << (index & 7)
    return base64.urlsafe_b64encode(zlib.compress(bytes(statuses), LEVEL)).rstrip(b"=").decode()


def decode(lst: str) -> set[int]:
    """The indexes that are invalid in ``lst``."""
    statuses = zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)))
    return {8 * place + bit for place, byte in enumerate(statuses) for bit in range(8) if byte >> bit & 1}
