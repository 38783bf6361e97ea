"""A receipt as text: the same proof on paper, in one code or in several, whichever comes first."""

import base64
import os
import random

import base45
import pytest
import segno
from hypothesis import given
from hypothesis import strategies as some

from card.ledger import receipts
from card.ledger.tree import BadProof


def text_of(size: int) -> str:
    return base64.b64encode(os.urandom(size)).decode()


def document(levels: int, *, cosigners: int = 2) -> receipts.Document:
    """A receipt from a tree of so many levels, with the names sealed elsewhere, and cosigned."""
    path = [text_of(32) for _ in range(levels)]
    return {
        "format": receipts.FORMAT,
        "transfer": {"data": text_of(106), "batch": 0, "index": 1999, "path": [text_of(32) for _ in range(11)]},
        "accounts": [
            {"data": text_of(75), "batch": n, "index": 5, "size": 7, "path": [text_of(32) for _ in range(3)]} for n in (1, 2)
        ],
        "batches": [{"data": text_of(96), "index": max(0, 2**levels - n - 1), "path": path} for n in range(3)],
        "checkpoint": f"ledger.citizen-card/320100\n{2**levels}\n{text_of(32)}\ntime 1795327200000000\n\n— x {text_of(68)}\n",
        "cosigners": [f"witness.citizen-card/320{n}00+00000000+{text_of(33)}" for n in range(cosigners)],
    }


@given(some.binary(max_size=50))
def test_base45_is_that_of_the_library(data: bytes) -> None:
    text = base45.b45encode(data).decode()
    assert receipts.b45encode(data) == text
    assert receipts.b45decode(text) == data


@pytest.mark.parametrize(("data", "text"), [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581")])
def test_base45_is_that_of_the_rfc(data: bytes, text: str) -> None:
    """RFC 9285 section 4.3."""
    assert (receipts.b45encode(data), receipts.b45decode(text)) == (text, data)


@pytest.mark.parametrize("text", ["B", "BB8B", "GGW", ":::", "bb8", "BB_"])
def test_what_is_not_base45_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Base45|substring"):
        receipts.b45decode(text)


@pytest.mark.parametrize(("levels", "cosigners", "count"), [(1, 0, 1), (16, 2, 2), (30, 2, 3)])
def test_a_receipt_fits_into_as_many_codes_as_people_can_scan(levels: int, cosigners: int, count: int) -> None:
    receipt = document(levels, cosigners=cosigners)
    codes = receipts.codes(receipt)
    assert len(codes) == count
    assert all(len(code) <= receipts.WHOLE + len("CCR2/1/3:") and receipts.is_code(code) for code in codes)
    assert {segno.make(code, error="l", boost_error=False).mode for code in codes} == {"alphanumeric"}
    assert max(int(segno.make(code, error="l", boost_error=False).version) for code in codes) <= 30
    shuffled = random.sample(codes, len(codes))
    assert receipts.unpack(shuffled) == receipts.unpack([*shuffled, shuffled[0]]) == receipt
    assert receipts.unpack([receipts.pack(receipt)]) == receipt


def test_a_receipt_of_which_a_code_is_missing_is_not_read() -> None:
    one, other = (receipts.codes(document(16)) for _ in range(2))
    for codes in (one[:1], one[1:], [], ["CCR2/2/1:BB8"], ["CCR2/1/999:BB8"]):
        with pytest.raises(BadProof, match="missing"):
            receipts.unpack(codes)
    for codes in ([one[0], other[1][:-1]], ["CCR2:"], ["CCR2:BB"], ["CCR2:GGW"]):
        with pytest.raises(BadProof, match="cannot be read"):
            receipts.unpack(codes)
    for codes in (["CC1:BB8"], ["CCR1:BB8"], ["x"]):
        with pytest.raises(BadProof, match="not a receipt"):
            receipts.unpack(codes)


@pytest.mark.parametrize(
    "change",
    [
        {"transfer": None},
        {"transfer": {"data": "?"}},
        {"accounts": 7},
        {"batches": [{"data": "", "index": -1, "path": []}]},
        {"batches": [{"data": "", "index": "x", "path": []}]},
        {"checkpoint": None},
        {"cosigners": [7]},
    ],
)
def test_what_is_no_receipt_is_not_written(change: receipts.Document) -> None:
    with pytest.raises(BadProof, match="not a receipt"):
        receipts.pack({**document(2), **change})
