"""The tree is RFC 6962's: known roots, every proof of every small tree, and nothing that was bent passes."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.kernel.signing import public_bytes
from card.ledger import notes, tree
from card.ledger.notes import Checkpoint, Kind, VerifierKey
from card.ledger.tree import BadProof

# The inputs and roots that RFC 6962's reference implementation publishes.
HEX = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
INPUTS = [bytes.fromhex(text) for text in HEX]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [tree.leaf_hash(str(n).encode()) for n in range(40)]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    assert tree.root([tree.leaf_hash(data) for data in INPUTS[:size]]).hex() == ROOTS[size - 1]


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert tree.root([]) == hashlib.sha256(b"").digest()


def stored() -> tree.Fetch:
    return lambda level, index: tree.root(LEAVES[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 40])
def test_every_leaf_of_every_tree_is_proven_and_nothing_else_is(size: int) -> None:
    whole = tree.root(LEAVES[:size])
    for index in range(size):
        proof = tree.path(LEAVES[:size], index)
        assert tree.stored_path(stored(), index, size) == proof
        assert tree.root_by_path(LEAVES[index], index, size, proof) == whole
        assert tree.root_by_path(tree.leaf_hash(b"other"), index, size, proof) != whole
        for bent in (proof[:-1], [*proof, LEAVES[0]]):
            if bent != proof:
                with pytest.raises(BadProof):
                    tree.root_by_path(LEAVES[index], index, size, bent)
    with pytest.raises(BadProof):
        tree.root_by_path(LEAVES[0], size, size, [])


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13, 16, 40])
def test_every_tree_begins_with_every_smaller_one_and_with_no_other(size: int) -> None:
    new_root = tree.root(LEAVES[:size])
    for old in range(1, size):
        proof, old_root = tree.consistency(stored(), old, size), tree.root(LEAVES[:old])
        tree.check_consistency(old=old, size=size, old_root=old_root, new_root=new_root, proof=proof)
        for wrong in (
            {"old_root": LEAVES[-1]},
            {"new_root": LEAVES[-1]},
            {"proof": proof[:-1]},
            {"proof": [*proof, LEAVES[0]]},
        ):
            facts = {"old_root": old_root, "new_root": new_root, "proof": proof, **wrong}
            with pytest.raises(BadProof):
                tree.check_consistency(old=old, size=size, **facts)
    tree.check_consistency(old=size, size=size, old_root=new_root, new_root=new_root, proof=[])


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = public_bytes(KEY.public_key())
ORIGIN = "ledger.citizen-card/320100"
VKEY = VerifierKey(name=ORIGIN, kind=Kind.ED25519, public=PUBLIC)


def test_a_checkpoint_is_a_signed_note() -> None:
    checkpoint = Checkpoint(origin=ORIGIN, size=8, root=bytes.fromhex(ROOTS[7]))
    note = notes.signed_note(checkpoint, key=VKEY, sign=KEY.sign)
    body, signature = note.split("\n\n")
    assert body == f"{ORIGIN}\n8\n{base64.b64encode(checkpoint.root).decode()}"
    assert signature.startswith(f"\N{EM DASH} {ORIGIN} ")
    assert notes.read_note(note, key=VKEY) == checkpoint
    assert VerifierKey.read(VKEY.text) == VKEY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda note: note.replace("\n8\n", "\n9\n"), "does not verify"),
        (lambda note: note.replace("320100", "320500"), "another ledger"),
        (lambda note: note.split("\n\n")[0] + "\n\n", "did not sign"),
        (lambda _: "", "cannot be read"),
        (lambda note: note.replace("\n8\n", "\neight\n"), "cannot be read"),
        (lambda note: note.replace("\n8\n", "\n08\n"), "another ledger"),
    ],
)
def test_a_bent_checkpoint_is_refused(change: object, said: str) -> None:
    note = notes.signed_note(Checkpoint(origin=ORIGIN, size=8, root=bytes(32)), key=VKEY, sign=KEY.sign)
    with pytest.raises(BadProof, match=said):
        notes.read_note(change(note), key=VKEY)


def test_a_key_that_does_not_fit_its_name_is_refused() -> None:
    with pytest.raises(BadProof):
        VerifierKey.read(VKEY.text.replace("320100", "320500"))
