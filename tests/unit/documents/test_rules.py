"""What a file is, and what a scanned text says."""

from uuid import UUID

import pytest

from app.kernel.errors import Refusal
from services.documents import FileKindRefused, FileTooLarge, FileUnreadable, rules
from services.documents.rules import MediaType

JPEG, PNG, PDF = b"\xff\xd8\xff\xe0rest", b"\x89PNG\r\n\x1a\nrest", b"%PDF-1.7 rest"
PICTURES = ("image/jpeg", "image/png")
ID = UUID("0190f3c2-4a00-7abc-8def-0123456789ab")
TOKEN = "eyJhbGciOiJFZDI1NTE5In0." + "eyJqdGkiOiIxIn0" + "." + "A" * 86


@pytest.mark.parametrize(
    ("content", "accepts", "outcome"),
    [
        (JPEG, PICTURES, MediaType.JPEG),
        (PNG, PICTURES, MediaType.PNG),
        (PDF, (*PICTURES, "application/pdf"), MediaType.PDF),
        (PDF, PICTURES, FileKindRefused),
        (b"<html>", PICTURES, FileKindRefused),
        (b"MZ\x90\x00", PICTURES, FileKindRefused),
        (b"", PICTURES, FileUnreadable),
        (JPEG + b"x" * rules.UPLOAD_BYTES_MAX, PICTURES, FileTooLarge),
    ],
)
def test_a_file_is_what_its_content_says(content: bytes, accepts: tuple[str, ...], outcome: MediaType | type[Refusal]) -> None:
    if isinstance(outcome, MediaType):
        assert rules.admit(content, accepts) is outcome
    else:
        with pytest.raises(outcome):
            rules.admit(content, accepts)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("photo.jpg", "photo.jpg"),
        (r"C:\Users\me\我的照片.jpg", "我的照片.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: b", "aSet-Cookie: b"),
        ("", "document.jpeg"),
    ],
)
def test_a_name_keeps_neither_folders_nor_control_characters(given: str, kept: str) -> None:
    assert rules.tidy_name(given, MediaType.JPEG) == kept


@pytest.mark.parametrize(
    ("text", "key", "token"),
    [
        (f"http://localhost:8001/verify/{ID}#{TOKEN}", ID, TOKEN),
        (f"HTTP://LOCALHOST:8001/VERIFY/{ID}".upper(), ID, None),
        (TOKEN, None, TOKEN),
        (" 320100-20261122-abcdefgh ", "320100-20261122-ABCDEFGH", None),
        ("hello", None, None),
    ],
)
def test_what_is_shown_is_read_as_an_address_a_number_or_a_code(text: str, key: UUID | str | None, token: str | None) -> None:
    assert rules.shown(text) == (key, token)


@pytest.mark.parametrize(
    ("name", "masked"), [("演示·林小满", "林＊＊"), ("王芳", "王＊"), ("Demo Lin Xiaoman", "D… L… X…"), ("李", "李＊")]
)
def test_a_stranger_with_a_number_sees_a_masked_name(name: str, masked: str) -> None:
    assert rules.masked(name) == masked
