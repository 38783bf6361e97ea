"""What a receipt proves, judged from its own bytes and the city's public key alone. Pure."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from card.ledger.leaves import ACCOUNT, BATCH, TRANSFER, AccountLeaf, BatchLeaf, TransferLeaf, instant_at, suite_of
from card.ledger.notes import Checkpoint, VerifierKey, read_cosignature, read_note
from card.ledger.receipts import FORMAT
from card.ledger.tree import SUITES, BadProof, Suite, leaf_hash, root_by_path

UNREADABLE: Final = "the receipt cannot be read"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Bytes that were hashed, and the path from there: a transfer's or an account's within its batch, a batch's in the tree.

    ``batch`` is which of the receipt's batches it belongs to; ``size`` how many leaves there are beside an account's.
    """

    data: bytes
    batch: int
    index: int
    size: int
    path: list[bytes]

    @classmethod
    def read(cls, part: Any) -> "Part":
        """A part of the document, with nothing proven yet."""
        return cls(
            data=base64.b64decode(part["data"], validate=True),
            batch=int(part.get("batch", 0)),
            index=int(part["index"]),
            size=int(part.get("size", 0)),
            path=[base64.b64decode(one, validate=True) for one in part["path"]],
        )

    def leads_to(self, root: bytes, size: int, suite: Suite) -> bool:
        """Whether it is in the tree of ``size`` leaves with this root. Raises :class:`BadProof` where its path is none."""
        return root_by_path(leaf_hash(self.data, suite), self.index, size, self.path, suite) == root


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A receipt with its parts in hand, and nothing proven yet."""

    transfer: Part
    accounts: list[Part]
    batches: list[Part]
    note: str
    cosigners: list[str]

    @property
    def suites(self) -> set[int]:
        """The suites that its leaves name; more than one is none."""
        kinds = ((TRANSFER, [self.transfer]), (ACCOUNT, self.accounts), (BATCH, self.batches))
        return {suite_of(part.data, letter) for letter, parts in kinds for part in parts}


def open_receipt(document: object) -> Opened:
    """The parts of a receipt. Raises :class:`BadProof`."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadProof("this is not a receipt")
    try:
        opened = Opened(
            transfer=Part.read(document["transfer"]),
            accounts=[Part.read(part) for part in document["accounts"]],
            batches=[Part.read(part) for part in document["batches"]],
            note=str(document["checkpoint"]),
            cosigners=[str(one) for one in document.get("cosigners", [])],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, binascii.Error) as error:
        raise BadProof(UNREADABLE) from error
    if any(not 0 <= part.batch < len(opened.batches) for part in (opened.transfer, *opened.accounts)):
        raise BadProof(UNREADABLE)
    return opened


def verify(document: object, *, key: str, cosigners: tuple[str, ...] = ()) -> dict[str, str]:
    """What a proven receipt says. ``cosigners`` are keys of cities that must have cosigned. Raises :class:`BadProof`."""
    city = VerifierKey.read(key)
    opened = open_receipt(document)
    suites = opened.suites
    suite = SUITES.get(suites.pop()) if len(suites) == 1 else None
    if suite is None:
        raise BadProof("this suite is not known here")
    if suite is not city.suite:
        raise BadProof("the key is for another suite")
    batches = [BatchLeaf.read(part.data) for part in opened.batches]
    own = batches[opened.transfer.batch]
    if not opened.transfer.leads_to(own.root, own.transfers, suite):
        raise BadProof("the transfer is not in its batch")
    for account in opened.accounts:
        if not account.leads_to(batches[account.batch].records, account.size, suite):
            raise BadProof("an account is not in its batch")
    checkpoint = read_note(opened.note, key=city)
    for batch in opened.batches:
        if not batch.leads_to(checkpoint.root, checkpoint.size, suite):
            raise BadProof("the batch is not in the signed tree")
    said = {"ledger": city.name, "suite": suite.name, **told(opened, own), "checkpoint": str(checkpoint.size)}
    if checkpoint.time_us is not None:
        try:
            said["signed"] = datetime.fromtimestamp(checkpoint.time_us / 1e6, UTC).isoformat()
        except (OverflowError, ValueError) as error:
            raise BadProof("the checkpoint cannot be read") from error
    return said | cosigned(opened, checkpoint, asked=cosigners)


def told(opened: Opened, batch: BatchLeaf) -> dict[str, str]:
    """What the transfer of a receipt whose parts hold says. Raises :class:`BadProof` where it does not name both accounts.

    A name is proven like the money: the account's leaf is in the same signed tree, under the number that the transfer carries.
    Our sealer writes it there before the first transfer; where another did so only afterwards, that is said.
    """
    transfer = TransferLeaf.read(opened.transfer.data)
    named = {(leaf := AccountLeaf.read(part.data)).id: (leaf, part) for part in opened.accounts}
    if len(named) != len(opened.accounts) or not {transfer.debit, transfer.credit} <= named.keys():
        raise BadProof("the receipt does not name both accounts")
    (debit, paying), (credit, paid) = named[transfer.debit], named[transfer.credit]
    said = {
        "transfer": str(transfer.id),
        "out of": debit.key,
        "into": credit.key,
        "amount": f"{transfer.amount_minor // 100}.{transfer.amount_minor % 100:02d} {debit.currency}",
        "code": str(transfer.code),
        "happened": instant_at(transfer.event_us).isoformat(),
        "booked": instant_at(batch.posted_us).isoformat(),
        "reference": transfer.reference,
    }
    sealed = opened.batches[opened.transfer.batch].index
    for leaf, part in ((debit, paying), (credit, paid)):
        if opened.batches[part.batch].index > sealed:
            said[f"named only afterwards #{leaf.id}"] = leaf.key
    return said


def cosigned(opened: Opened, checkpoint: Checkpoint, *, asked: tuple[str, ...]) -> dict[str, str]:
    """Which cities cosigned, and when: those ``asked`` for, and those that the receipt names. Raises :class:`BadProof`."""
    said = {}
    for number, text in enumerate(dict.fromkeys((*asked, *opened.cosigners)), start=1):
        signer = VerifierKey.read(text)
        at = read_cosignature(checkpoint, opened.note.partition("\n\n")[2], key=signer)
        label = "cosigned" if text in asked else "cosigned, its key as the receipt has it"
        said[f"{label} #{number}"] = f"{signer.name} {at.isoformat()}"
    return said
