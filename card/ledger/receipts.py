"""A receipt as a JSON document and as the text of a QR: the same proof, for a file and for paper.

Pure. The text is ``CCR1:`` and the Base45 of deterministic CBOR, so that a QR packs it as alphanumerics.
"""

import base64
import binascii
from typing import Final

import base45
import cbor2

from card.ledger.tree import BadProof

FORMAT: Final = "citizen-card-receipt/1"
PREFIX: Final = "CCR1:"
HASH: Final = 32  # bytes
FIELDS: Final = 8

Document = dict[str, object]


def _raw(text: object) -> bytes:
    return base64.b64decode(str(text), validate=True)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def pack(document: Document) -> str:
    """The text of a QR that carries the receipt ``document``. Raises :class:`BadProof` where it is no receipt."""
    try:
        paths = [b"".join(map(_raw, document[name])) for name in ("transfer_path", "batch_path")]  # type: ignore[call-overload]
        packed = [
            _raw(document["transfer"]),
            document["transfer_index"],
            paths[0],
            _raw(document["batch"]),
            document["batch_index"],
            paths[1],
            document["checkpoint"],
            document.get("cosigners", []),
        ]
    except (KeyError, TypeError, binascii.Error) as error:
        raise BadProof("this is not a receipt") from error
    return PREFIX + base45.b45encode(cbor2.dumps(packed, canonical=True)).decode()


def unpack(text: str) -> Document:
    """The receipt that the text of a QR carries. Raises :class:`BadProof`."""
    if not text.startswith(PREFIX):
        raise BadProof("this is not a receipt")
    try:
        packed = cbor2.loads(base45.b45decode(text.removeprefix(PREFIX)))
        transfer, transfer_index, transfer_path, batch, batch_index, batch_path, checkpoint, cosigners = packed
        paths = [[raw[i : i + HASH] for i in range(0, len(raw), HASH)] for raw in (transfer_path, batch_path)]
        return {
            "format": FORMAT,
            "transfer": _text(transfer),
            "transfer_index": transfer_index,
            "transfer_path": [_text(one) for one in paths[0]],
            "batch": _text(batch),
            "batch_index": batch_index,
            "batch_path": [_text(one) for one in paths[1]],
            "checkpoint": checkpoint,
            "cosigners": cosigners,
        }
    except (ValueError, TypeError, cbor2.CBORDecodeError) as error:
        raise BadProof("the receipt cannot be read") from error
