"""A draft of a tariff: the rows of one version, apart from the feed that they will join, and what they change.

A draft is kept as *sheets*: by file, the rows as columns to text. Of our own files a sheet holds the rows of the drafted
version alone; of the Fares v2 files, which belong to all versions of a feed, it holds the whole file, and only where the draft
changes it.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from card.fares.feeds import NOT_CSV, Feed, FeedRefused, Problem, read_files
from card.fares.gtfs import COLUMNS, OURS
from card.fares.publishing import FARE_FILES

Sheet = list[dict[str, str]]
Sheets = dict[str, Sheet]

VERSION_FILE: Final = "tariffs.txt"
VERSION: Final = "tariff_id"
LARGE: Final = 60
"""A sheet with more rows than this is changed by a file, not on a page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One difference: in which file, in which row (its key in words), which column; an empty side was not there."""

    file: str
    row: str
    column: str
    before: str
    after: str


def columns_of(feed: Feed, file: str) -> tuple[str, ...]:
    """The columns of ``file``: the feed's own, then what we understand besides; without the version's name."""
    table = feed.tables.get(file)
    known = tuple(column.name for column in COLUMNS[file])
    header = table.header if table else ()
    found = (*header, *(name for name in known if name not in header))
    return tuple(name for name in found if name != VERSION or file == VERSION_FILE)


def sheets_of(feed: Feed, tariff_id: str) -> Sheets:
    """The rows of the version ``tariff_id`` in our own files."""
    found: Sheets = {}
    for file in OURS:
        rows = [dict(row.values) for row in feed.rows(file) if row[VERSION] == tariff_id]
        if rows:
            found[file] = [_without_version(row) if file != VERSION_FILE else row for row in rows]
    return found


def shared_sheet(feed: Feed, file: str) -> Sheet:
    """All rows of a Fares v2 file."""
    return [dict(row.values) for row in feed.rows(file)]


def _without_version(row: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in row.items() if name != VERSION}


def tidy(sheets: Mapping[str, Iterable[Mapping[str, str]]]) -> Sheets:
    """Without empty rows and empty cells; a file that has none left is not in it."""
    found: Sheets = {}
    for file, rows in sheets.items():
        kept = [{name: text.strip() for name, text in row.items() if text.strip()} for row in rows]
        kept = [row for row in kept if row]
        if kept or file in FARE_FILES:
            found[file] = kept
    return found


def sheet_from(file: str, content: bytes) -> Sheet:
    """The rows of an uploaded file.

    Raises:
        FeedRefused: it cannot be read; the reason is named by line.
    """
    try:
        text = content.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FeedRefused([Problem(file=file, line=1, field="", value=str(error)[:80], reason=NOT_CSV)]) from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return []
    header = [name.strip() for name in rows[0]]
    return [dict(zip(header, (cell.strip() for cell in row), strict=False)) for row in rows[1:]]


def merge(feed: Feed, sheets: Mapping[str, Sheet]) -> Feed:
    """``feed`` with the drafted version in it.

    Files that the draft does not touch stay byte for byte; to those it adds to, its rows are appended. Where it changes a Fares
    v2 file, the versions that are priced by those files alone leave the feed: they keep the import that they came with.

    Raises:
        FeedRefused: the result is no sound feed; every place is named, lines of the draft's own rows within their sheet.
    """
    files, places = _merged(feed, sheets)
    try:
        return read_files(files)
    except FeedRefused as refusal:
        raise in_sheets(places, refusal) from refusal


def placed(feed: Feed, sheets: Mapping[str, Sheet]) -> dict[tuple[str, int], int]:
    """Where the draft's rows come to stand when they are merged: ``(file, line)`` to the row's number in its sheet, from 1."""
    return _merged(feed, sheets)[1]


def in_sheets(places: Mapping[tuple[str, int], int], refusal: FeedRefused) -> FeedRefused:
    """The refusal with the lines of the draft's own rows counted within their sheet, from 1."""
    return FeedRefused(
        [replace(problem, line=places.get((problem.file, problem.line), problem.line)) for problem in refusal.problems]
    )


def _merged(feed: Feed, sheets: Mapping[str, Sheet]) -> tuple[dict[str, bytes], dict[tuple[str, int], int]]:
    files = dict(feed.files)
    places: dict[tuple[str, int], int] = {}
    [version] = sheets[VERSION_FILE]
    tariff_id = version.get(VERSION, "")
    shared = {file for file in sheets if file in FARE_FILES}
    gone = _priced_by_legs(feed) - {tariff_id} if shared else frozenset[str]()
    for file in OURS:
        added = [{**row, VERSION: tariff_id} for row in sheets.get(file, [])]
        kept = [dict(row.values) for row in feed.rows(file) if row[VERSION] not in gone and row[VERSION] != tariff_id]
        if added or len(kept) != len(feed.rows(file)):
            files[file], begin = _written(feed, file, kept, added)
            places |= {(file, begin + number): number + 1 for number in range(len(added))}
    for file in shared:
        files[file], begin = _written(feed, file, [], sheets[file], whole=True)
        places |= {(file, begin + number): number + 1 for number in range(len(sheets[file]))}
    return files, places


def _priced_by_legs(feed: Feed) -> frozenset[str]:
    priced = {row[VERSION] for file in ("distance_bands.txt", "od_fares.txt") for row in feed.rows(file)}
    return frozenset(row[VERSION] for row in feed.rows(VERSION_FILE)) - priced


def _written(
    feed: Feed, file: str, kept: list[dict[str, str]], added: list[dict[str, str]], *, whole: bool = False
) -> tuple[bytes, int]:
    """The file's bytes and the line of the first row added; what was there stays as it is where nothing of it goes."""
    table = feed.tables.get(file)
    header = table.header if table else ()
    wanted = [column.name for column in COLUMNS[file]]
    used = {name for row in added for name, text in row.items() if text}
    required = {column.name for column in COLUMNS[file] if column.required}
    new = tuple(name for name in (*wanted, *sorted(used)) if name in used | required and name not in header)
    full = (*header, *dict.fromkeys(new))
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    if table is not None and not whole and full == header and len(kept) == len(table.rows):
        old = feed.files[file].decode("utf-8-sig")
        text.write(old if old.endswith("\n") else old + "\n")
    else:
        out.writerow(full)
        out.writerows([row.get(name, "") for name in full] for row in kept)
    begin = text.getvalue().count("\n") + 1
    out.writerows([row.get(name, "") for name in full] for row in added)
    return text.getvalue().encode(), begin


def differences(before: Mapping[str, Sheet], after: Mapping[str, Sheet]) -> list[Change]:
    """What ``after`` says otherwise than ``before``, row by row; rows of a file are matched by its key, then in order."""
    found: list[Change] = []
    for file in (*OURS, *FARE_FILES):
        if file in FARE_FILES and file not in after:
            continue
        old, new = _by_key(file, before.get(file, [])), _by_key(file, after.get(file, []))
        for key in (*old, *(key for key in new if key not in old)):
            one, other = old.get(key, {}), new.get(key, {})
            found += [
                Change(file=file, row=" · ".join(part for part in key[:-1] if part), column=name, before=was, after=becomes)
                for name in dict.fromkeys((*one, *other))
                if (was := one.get(name, "")) != (becomes := other.get(name, ""))
            ]
    return found


def _by_key(file: str, rows: Iterable[Mapping[str, str]]) -> dict[tuple[str, ...], Mapping[str, str]]:
    names = [column.name for column in COLUMNS[file] if column.key and column.name != VERSION]
    found: dict[tuple[str, ...], Mapping[str, str]] = {}
    for row in rows:
        key = tuple(row.get(name, "") for name in names)
        same = sum(1 for other in found if other[:-1] == key)
        found[*key, str(same)] = row
    return found
