"""What a receipt proves, judged from its own bytes and the city's public key alone. Pure."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import cbor2

from card.ledger import notes, tree
from card.ledger.notes import Checkpoint, VerifierKey
from card.ledger.receipts import FORMAT
from card.ledger.tree import BadProof

TRANSFER_FIELDS: Final = 15
BATCH_FIELDS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A receipt with its parts in hand, and nothing proven yet."""

    transfer: bytes
    batch: bytes
    transfer_path: list[bytes]
    batch_path: list[bytes]
    place: int
    position: int
    note: str
    cosigners: list[str]
    facts: list[Any]
    sealed: list[Any]


def open_receipt(document: object) -> Opened:
    """The parts of a receipt. Raises :class:`BadProof`."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadProof("this is not a receipt")
    try:
        transfer, batch = (base64.b64decode(document[name], validate=True) for name in ("transfer", "batch"))
        paths = [[base64.b64decode(one, validate=True) for one in document[name]] for name in ("transfer_path", "batch_path")]
        opened = Opened(
            transfer=transfer,
            batch=batch,
            transfer_path=paths[0],
            batch_path=paths[1],
            place=int(document["transfer_index"]),
            position=int(document["batch_index"]),
            note=str(document["checkpoint"]),
            cosigners=[str(one) for one in document.get("cosigners", [])],
            facts=cbor2.loads(transfer),
            sealed=cbor2.loads(batch),
        )
        lengths = (len(opened.facts), len(opened.sealed))
    except (KeyError, TypeError, ValueError, binascii.Error, cbor2.CBORDecodeError) as error:
        raise BadProof("the receipt cannot be read") from error
    if lengths != (TRANSFER_FIELDS, BATCH_FIELDS):
        raise BadProof("the receipt cannot be read")
    return opened


def told(opened: Opened) -> dict[str, str]:
    """What the transfer in a receipt says. Raises :class:`BadProof`."""
    _, id_, _, _, debit, credit, amount, code, event, _, _, reference, *_ = opened.facts
    try:
        return {
            "transfer": str(UUID(bytes=id_)),
            "out of": str(debit),
            "into": str(credit),
            "amount": f"{amount // 100}.{amount % 100:02d} CNY",
            "code": str(code),
            "happened": datetime.fromtimestamp(event / 1e6, UTC).isoformat(),
            "booked": datetime.fromtimestamp(opened.sealed[4] / 1e6, UTC).isoformat(),
            "reference": str(reference),
        }
    except (TypeError, ValueError, OverflowError) as error:
        raise BadProof("the receipt cannot be read") from error


def verify(document: object, *, key: str, cosigners: tuple[str, ...] = ()) -> dict[str, str]:
    """What a proven receipt says. ``cosigners`` are keys of cities that must have cosigned. Raises :class:`BadProof`."""
    city = VerifierKey.read(key)
    opened = open_receipt(document)
    said = told(opened)
    suite = tree.SUITES.get(opened.facts[0]) if opened.facts[0] == opened.sealed[0] else None
    if suite is None:
        raise BadProof("this suite is not known here")
    if suite is not city.suite:
        raise BadProof("the key is for another suite")
    _, number, count, _, _, root, *_ = opened.sealed
    if opened.facts[2:4] != [number, opened.place]:
        raise BadProof("the transfer belongs to another batch")
    if tree.root_by_path(tree.leaf_hash(opened.transfer, suite), opened.place, count, opened.transfer_path, suite) != root:
        raise BadProof("the transfer is not in its batch")
    checkpoint = notes.read_note(opened.note, key=city)
    leaf = tree.leaf_hash(opened.batch, suite)
    if tree.root_by_path(leaf, opened.position, checkpoint.size, opened.batch_path, suite) != checkpoint.root:
        raise BadProof("the batch is not in the signed tree")
    said = {"ledger": city.name, "suite": suite.name, **said, "checkpoint": str(checkpoint.size)}
    if checkpoint.time_us is not None:
        said["signed"] = datetime.fromtimestamp(checkpoint.time_us / 1e6, UTC).isoformat()
    return said | cosigned(opened, checkpoint, asked=cosigners)


def cosigned(opened: Opened, checkpoint: Checkpoint, *, asked: tuple[str, ...]) -> dict[str, str]:
    """Which cities cosigned, and when: those ``asked`` for, and those that the receipt names. Raises :class:`BadProof`."""
    said = {}
    for number, text in enumerate(dict.fromkeys((*asked, *opened.cosigners)), start=1):
        signer = VerifierKey.read(text)
        at = notes.read_cosignature(checkpoint, opened.note.partition("\n\n")[2], key=signer)
        label = "cosigned" if text in asked else "cosigned, its key as the receipt has it"
        said[f"{label} #{number}"] = f"{signer.name} {at.isoformat()}"
    return said
