"""``python -m card.ledger.verify receipt.json --key KEY`` says whether a transfer is in a city's books.

It needs the receipt and the city's public key, and asks nobody. It prints what the transfer says and ends with 0, or says which
part of the proof does not hold and ends with 1.
"""

import argparse
import base64
import binascii
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import cbor2

from card.ledger import tree
from card.ledger.tree import BadProof

FORMAT = "citizen-card-receipt/1"


def verify(document: object, *, key: str) -> dict[str, str]:
    """What a proven receipt says. Raises :class:`BadProof`."""
    origin, public = tree.read_verifier_key(key)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadProof("this is not a receipt")
    try:
        transfer, batch = (base64.b64decode(document[name], validate=True) for name in ("transfer", "batch"))
        paths = [[base64.b64decode(one, validate=True) for one in document[name]] for name in ("transfer_path", "batch_path")]
        place, position, note = int(document["transfer_index"]), int(document["batch_index"]), str(document["checkpoint"])
        suite, id_, batch_no, leaf, debit, credit, amount, code, event, *_, reference, _details, _reverses = cbor2.loads(
            transfer
        )
        batch_suite, number, count, _total, posted, root = cbor2.loads(batch)
    except (KeyError, TypeError, ValueError, binascii.Error, cbor2.CBORDecodeError) as error:
        raise BadProof(f"the receipt cannot be read: {error}") from error
    if {suite, batch_suite} != {tree.SUITE}:
        raise BadProof(f"suite {suite} is not known here")
    if (batch_no, leaf) != (number, place):
        raise BadProof("the transfer belongs to another batch")
    if tree.root_by_path(tree.leaf_hash(transfer), place, count, paths[0]) != root:
        raise BadProof("the transfer is not in its batch")
    checkpoint = tree.read_note(note, origin=origin, public=public)
    if tree.root_by_path(tree.leaf_hash(batch), position, checkpoint.size, paths[1]) != checkpoint.root:
        raise BadProof("the batch is not in the signed tree")
    return {
        "ledger": origin,
        "transfer": str(UUID(bytes=id_)),
        "out of": debit,
        "into": credit,
        "amount": f"{amount // 100}.{amount % 100:02d} CNY",
        "code": str(code),
        "happened": datetime.fromtimestamp(event / 1e6, UTC).isoformat(),
        "booked": datetime.fromtimestamp(posted / 1e6, UTC).isoformat(),
        "reference": reference,
        "checkpoint": f"{checkpoint.size} batches",
    }


def main(arguments: list[str] | None = None) -> int:
    """Verify one receipt; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m card.ledger.verify", description="Verify a receipt of the ledger.")
    parser.add_argument("receipt", type=Path, help="the receipt, a JSON file")
    parser.add_argument("--key", required=True, help="the city's verifier key: origin+hash+key")
    asked = parser.parse_args(arguments)
    try:
        said = verify(json.loads(asked.receipt.read_text()), key=asked.key)
    except (BadProof, OSError, ValueError) as error:
        sys.stderr.write(f"NOT proven: {error}\n")
        return 1
    sys.stdout.write("proven\n" + "".join(f"  {name}: {value}\n" for name, value in said.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
