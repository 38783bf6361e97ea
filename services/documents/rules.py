"""What a file is, what may be handed in, and what a certificate says. Pure."""

import re
import secrets
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from app.kernel.errors import Invalid, NotFound, Unavailable, msg

UPLOAD_BYTES_MAX: Final = 5 * 1024 * 1024
NAME_MAX: Final = 120
TOKEN_TYPE: Final = "certificate+jwt"  # noqa: S105  a media type
ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no letter that is read as a digit
NUMBER: Final = re.compile(r"\d{6}-\d{8}-[0-9A-Z]{8}")
TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{80,}")
IDENTIFIER: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class NoSuchDocument(NotFound):
    """No such paper, or it is not this caller's to see."""

    code = "no-such-document"
    sentence = msg("We could not find this document.")


class FileTooLarge(Invalid):
    """The file is larger than one upload may be."""

    code = "file-too-large"
    sentence = msg("The file must be smaller than 5 MB.")


class FileKindRefused(Invalid):
    """The content of the file is not of a kind that this question takes, whatever its name says."""

    code = "file-kind-refused"
    sentence = msg("The file must be one of: %(kinds)s.")


class FileUnreadable(Invalid):
    """The file is damaged or empty."""

    code = "file-unreadable"
    sentence = msg("The file cannot be opened. Choose another one, or take the picture again.")


class FontsMissing(Unavailable):
    """The fonts that certificates are set in were not installed."""

    code = "fonts-missing"
    sentence = msg("The fonts for documents are not installed. Run the set-up once more.")


class MediaType(StrEnum):
    """What may be handed in."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    PDF = "application/pdf"


NAMES: Final = {MediaType.JPEG: "JPEG", MediaType.PNG: "PNG", MediaType.PDF: "PDF"}


class Standing(StrEnum):
    """What the city says of a document that somebody shows."""

    VALID = "valid"
    WITHDRAWN = "withdrawn"
    ALTERED = "altered"  # our document, and not as we signed it
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Both:
    """One text in both languages."""

    en: str
    zh: str

    def said(self, language: str) -> str:
        """The text in ``language`` (``en`` or ``zh_Hans_CN``)."""
        return self.en if language == "en" else self.zh


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a sheet: its heading, whether its cells stand right (amounts), whether it takes what width is left."""

    name: Both
    right: bool = False
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class SheetTable:
    """A table of a sheet: each row has a text for every column."""

    columns: tuple[Column, ...]
    rows: list[tuple[str, ...]]
    title: Both | None = None


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A statement or report of many pages: a number, facts, tables, a note. No seal: who doubts it asks the city.

    ``codes`` are texts of QRs as large as the page allows; ``attached`` is a file that travels inside, its name and content.
    """

    number: str
    title: Both
    facts: tuple[tuple[Both, str], ...]
    tables: tuple[SheetTable, ...] = ()
    note: Both | None = None
    codes: tuple[str, ...] = ()
    attached: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Letter:
    """What a certificate says: title, the sentence that decides, facts as a table, reasons, and what can be done about it."""

    title: Both
    sentence: Both
    facts: tuple[tuple[Both, Both], ...]
    reasons: tuple[Both, ...] = ()
    notice: Both | None = None


def sniff(content: bytes) -> MediaType | None:
    """The media type by the content's first bytes; a name or a header that came along is not asked."""
    if content.startswith(b"\xff\xd8\xff"):
        return MediaType.JPEG
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return MediaType.PNG
    if content.startswith(b"%PDF-"):
        return MediaType.PDF
    return None


def admit(content: bytes, accepts: tuple[str, ...]) -> MediaType:
    """The media type of an upload that may be kept. Raises the refusal that fits."""
    if not content:
        raise FileUnreadable("empty")
    if len(content) > UPLOAD_BYTES_MAX:
        raise FileTooLarge
    found = sniff(content)
    if found is None or found not in accepts:
        raise FileKindRefused(kinds=", ".join(NAMES[MediaType(kind)] for kind in accepts))
    return found


def tidy_name(filename: str, media_type: MediaType) -> str:
    """A file's name without its folder and without control characters; never empty."""
    name = re.split(r"[\\/]", filename)[-1]
    name = "".join(letter for letter in name if letter.isprintable()).strip()[-NAME_MAX:]
    return name or f"document.{NAMES[media_type].lower()}"


def fresh_number(city_code: str, on: date) -> str:
    """A certificate's number: the city, the civil date, eight letters that nobody can guess."""
    return f"{city_code}-{on:%Y%m%d}-{''.join(secrets.choice(ALPHABET) for _ in range(8))}"


def masked(name: str) -> str:
    """A name as a stranger with a mere number may see it: its first letter, or the first letter of each word."""
    bare = name.rsplit("·", 1)[-1]
    if bare.isascii():
        return " ".join(word[0] + "…" for word in bare.split())
    return bare[:1] + "＊" * max(1, len(bare) - 1)


def claims(
    *, certificate_id: UUID, number: str, city_code: str, issuer: str, letter: Letter, holder_name: str, issued_at: datetime
) -> dict[str, object]:
    """What the QR's token says, so that it can be checked without asking the city."""
    return {
        "jti": str(certificate_id),
        "iss": issuer,
        "city": city_code,
        "num": number,
        "iat": int(issued_at.timestamp()),
        "name": holder_name,
        "title": letter.title.zh,
        "says": letter.sentence.zh,
    }


def shown(text: str) -> tuple[UUID | str | None, str | None]:
    """What somebody typed or scanned: the id or number in it, and the token in it, where there is one."""
    token = TOKEN.search(text)
    rest = text.replace(token[0], " ") if token else text
    identifier = IDENTIFIER.search(rest.lower())
    number = NUMBER.search(rest.upper())
    return (UUID(identifier[0]) if identifier else number[0] if number else None), (token[0] if token else None)
