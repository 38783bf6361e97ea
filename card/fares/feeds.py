"""Read a GTFS feed: every fault named by file, line, field and reason, or a feed that is sound.

Reading changes nothing anywhere; storing is the business of whoever asked. The bytes of every file are kept, so that an export
gives back what came in.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Final

from app.kernel.errors import Invalid, msg
from card.fares.gtfs import COLUMNS, REQUIRED, Column

PROBLEMS_MAX: Final = 100
BYTES_MAX: Final = 512 * 1024 * 1024
_EVERY_MINUTE: Final = 24 * 60


class FeedRefused(Invalid):
    """The feed breaks a rule; ``problems`` names every place, the sentence the first."""

    code = "feed-refused"
    sentence = msg("The feed was not imported: %(file)s, line %(line)s, field %(field)s: %(reason)s. Nothing was changed.")

    def __init__(self, problems: "list[Problem]") -> None:
        first = problems[0]
        super().__init__(
            "; ".join(str(problem) for problem in problems[:10]),
            fields={f"{problem.file}:{problem.line}:{problem.field}": problem.reason for problem in problems},
            file=first.file,
            line=first.line,
            field=first.field,
            reason=first.reason,
        )
        self.problems = problems


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One fault. ``line`` counts from 1, the header being line 1; ``reason`` is a message id."""

    file: str
    line: int
    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.reason} ({self.value!r})"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file; an absent column reads as the empty string."""

    line: int
    values: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One file as read: every column that came, known or not."""

    name: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A sound feed: the files as they came, and their tables."""

    files: Mapping[str, bytes] = field(repr=False)
    tables: Mapping[str, Table] = field(repr=False)

    def rows(self, file: str) -> tuple[Row, ...]:
        """The rows of ``file``; none when the feed has no such file."""
        table = self.tables.get(file)
        return table.rows if table else ()

    @cached_property
    def unknown_columns(self) -> dict[str, tuple[str, ...]]:
        """Columns kept though nothing here reads them, by file."""
        return {
            name: extra
            for name, table in self.tables.items()
            if (extra := tuple(c for c in table.header if c not in {known.name for known in COLUMNS.get(name, ())}))
        }

    def as_zip(self) -> bytes:
        """The feed as one ZIP file, byte for byte what came in."""
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(self.files):
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), self.files[name], zipfile.ZIP_DEFLATED)
        return made.getvalue()


def parse_date(text: str) -> date:
    """``YYYYMMDD``."""
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007  a civil date has no zone


def parse_clock(text: str) -> time:
    """``HH:MM:SS`` within a day."""
    hours, minutes, seconds = (int(part) for part in text.split(":"))
    return time(hours, minutes, seconds)


def _amount(text: str) -> None:
    if not Decimal(text).is_finite() or Decimal(text) != Decimal(text).quantize(Decimal("0.01")):
        raise ValueError


def _price(text: str) -> None:
    _amount(text)
    if Decimal(text) < 0:
        raise ValueError


def _positive(text: str) -> None:
    _integer(text)
    if int(text) == 0:
        raise ValueError


def _within(low: int, high: int) -> Callable[[str], object]:
    def check(text: str) -> None:
        if not low <= Decimal(text) <= high:
            raise ValueError

    return check


def _span(text: str) -> None:
    hours, minutes, seconds = text.strip().split(":")
    if not (hours.isdigit() and int(minutes) < 60 and int(seconds) < 60):  # noqa: PLR2004  minutes and seconds
        raise ValueError


def _clock(text: str) -> None:
    if text != "24:00:00":
        parse_clock(text)


def _color(text: str) -> None:
    if len(text) != 6:  # noqa: PLR2004  six hexadecimal digits
        raise ValueError
    int(text, 16)


def _count(text: str) -> None:
    if int(text) < -1 or int(text) == 0:
        raise ValueError


def _currency(text: str) -> None:
    if not (len(text) == 3 and text.isalpha() and text.isupper()):  # noqa: PLR2004  ISO 4217
        raise ValueError


def _integer(text: str) -> None:
    if not (text.isascii() and text.isdigit()):
        raise ValueError


_KINDS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "text": (str, ""),
    "integer": (_integer, msg("is not a whole number")),
    "count": (_count, msg("is neither -1 nor a positive whole number")),
    "decimal": (_within(0, 10**12), msg("is not a number of zero or more")),
    "percent": (_within(0, 100), msg("is not a percentage between 0 and 100")),
    "amount": (_amount, msg("is not an amount with at most two decimals")),
    "price": (_price, msg("is not an amount of zero or more with at most two decimals")),
    "positive": (_positive, msg("is not a whole number of one or more")),
    "latitude": (_within(-90, 90), msg("is not a latitude")),
    "longitude": (_within(-180, 180), msg("is not a longitude")),
    "date": (parse_date, msg("is not a date of the form YYYYMMDD")),
    "time": (_span, msg("is not a time of the form HH:MM:SS")),
    "clock": (_clock, msg("is not a time of day of the form HH:MM:SS")),
    "color": (_color, msg("is not a colour of six hexadecimal digits")),
    "currency": (_currency, msg("is not a currency code of three capital letters")),
}
_CHOICE: Final = msg("is not one of the values that the field allows")
_MISSING_FILE: Final = msg("the file is required and is not there")
_MISSING_COLUMN: Final = msg("the column is required and is not there")
_MISSING_VALUE: Final = msg("is required and empty")
_DUPLICATE_COLUMN: Final = msg("the column is there twice")
_DUPLICATE_KEY: Final = msg("the same key is on an earlier line")
_DANGLING: Final = msg("refers to something that is not in the feed")
_RAGGED: Final = msg("the line has more or fewer fields than the header")
_ENCODING: Final = msg("the file is not UTF-8")
NOT_CSV: Final = msg("the file cannot be read as comma-separated values")
_NOT_ZIP: Final = msg("is neither a folder nor a ZIP file")
_TOO_LARGE: Final = msg("the feed is too large")
_HALF: Final = msg("is given without its other half")
_OVERLAP: Final = msg("overlaps another time of the same group and service")
_TWO_NETWORKS: Final = msg("networks are given in networks.txt or route_networks.txt as well")
_COUNT_NEEDED: Final = msg("is required for a transfer within one leg group")
_COUNT_FORBIDDEN: Final = msg("is only for a transfer within one leg group")
_BACKWARDS: Final = msg("ends before it begins")
_LONG_WINDOW: Final = msg("a rolling window is between one minute and seven days long")
_NOT_WHOLE: Final = msg("the shares of this tariff do not add up to 100 percent")
WINDOW_MINUTES_MAX: Final = 7 * 24 * 60
"""The longest rolling window: pricing looks back a week, or to the beginning of the month."""
NOT_A_TARIFF: Final = msg("the tariff does not price every journey")


class _Reader:
    """Collects the problems of one feed."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.problems: list[Problem] = []
        self.tables: dict[str, Table] = {}

    def fault(self, file: str, line: int, column: str, reason: str, value: str = "") -> None:
        self.problems.append(Problem(file=file, line=line, field=column, value=value[:80], reason=reason))

    def read(self) -> Feed:
        for name in REQUIRED:
            if name not in self.files:
                self.fault(name, 0, "", _MISSING_FILE)
        for name in sorted(self.files):
            if name.endswith(".txt"):
                self.table(name, self.files[name])
        for name, table in self.tables.items():
            self.check(name, table)
        for name, table in self.tables.items():
            self.check_references(name, table)
        if not self.problems:
            self.check_rules()
        if self.problems:
            raise FeedRefused(self.problems[:PROBLEMS_MAX])
        return Feed(files=dict(self.files), tables=self.tables)

    def table(self, name: str, content: bytes) -> None:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.fault(name, content[: error.start].count(b"\n") + 1, "", _ENCODING)
            return
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows: list[Row] = []
        header: tuple[str, ...] = ()
        line = 1
        try:
            for cells in reader:
                begin, line = line, reader.line_num + 1
                if not cells or cells == [""]:
                    continue
                if not header:
                    header = tuple(cell.strip() for cell in cells)
                    continue
                if len(cells) != len(header):
                    self.fault(name, begin, "", _RAGGED)
                    continue
                rows.append(Row(begin, {k: v.strip() for k, v in zip(header, cells, strict=True)}))
        except csv.Error as error:
            self.fault(name, reader.line_num, "", NOT_CSV, str(error))
            return
        for column in sorted({column for column in header if header.count(column) > 1}):
            self.fault(name, 1, column, _DUPLICATE_COLUMN)
        self.tables[name] = Table(name=name, header=header, rows=tuple(rows))

    def check(self, name: str, table: Table) -> None:
        columns = COLUMNS.get(name, ())
        for column in columns:
            if column.required and column.name not in table.header:
                self.fault(name, 1, column.name, _MISSING_COLUMN)
        present = [column for column in columns if column.name in table.header]
        for column in present:
            self.check_column(name, table, column)
        keys = [column.name for column in present if column.key]
        if keys:
            seen: set[tuple[str, ...]] = set()
            for row in table.rows:
                key = tuple(row[column] for column in keys)
                if key in seen:
                    self.fault(name, row.line, keys[-1], _DUPLICATE_KEY, ", ".join(key))
                seen.add(key)

    def check_column(self, name: str, table: Table, column: Column) -> None:
        check, reason = _KINDS.get(column.kind, (None, _CHOICE))
        allowed = frozenset(column.kind.split("|"))
        known: set[str] = set()
        for row in table.rows:
            value = row[column.name]
            if value in known:
                continue
            if not value:
                if column.required:
                    self.fault(name, row.line, column.name, _MISSING_VALUE)
                continue
            try:
                if check is None:
                    sound = value in allowed
                else:
                    check(value)
                    sound = True
            except (ValueError, InvalidOperation):
                sound = False
            if sound:
                known.add(value)
            else:
                self.fault(name, row.line, column.name, reason, value)

    def check_references(self, name: str, table: Table) -> None:
        for column in COLUMNS.get(name, ()):
            if not column.refers_to or column.name not in table.header:
                continue
            targets = {row[other] for file, other in column.refers_to if file in self.tables for row in self.tables[file].rows}
            for row in table.rows:
                if row[column.name] and row[column.name] not in targets:
                    self.fault(name, row.line, column.name, _DANGLING, row[column.name])

    def rows(self, file: str) -> tuple[Row, ...]:
        table = self.tables.get(file)
        return table.rows if table else ()

    def check_rules(self) -> None:
        """What the reference asks of several fields or rows together; every value is sound by now."""
        for row in self.rows("routes.txt"):
            if row["network_id"] and ("networks.txt" in self.tables or "route_networks.txt" in self.tables):
                self.fault("routes.txt", row.line, "network_id", _TWO_NETWORKS, row["network_id"])
        self.check_halves("timeframes.txt", "start_time", "end_time")
        self.check_halves("fare_leg_join_rules.txt", "from_stop_id", "to_stop_id")
        self.check_halves("fare_transfer_rules.txt", "duration_limit", "duration_limit_type")
        self.check_halves("tariffs.txt", "overtime_after_minutes", "overtime_surcharge")
        self.check_counts()
        for file, begin, end in (
            ("calendar.txt", "start_date", "end_date"),
            ("tariffs.txt", "effective_from", "effective_until"),
        ):
            for row in self.rows(file):
                if row[end] and row[end] < row[begin]:
                    self.fault(file, row.line, end, _BACKWARDS, row[end])
        for row in self.rows("cap_rules.txt"):
            if row["window"] == "rolling" and not 1 <= int(row["window_minutes"] or 0) <= WINDOW_MINUTES_MAX:
                self.fault("cap_rules.txt", row.line, "window_minutes", _LONG_WINDOW, row["window_minutes"])
        self.check_overlaps()
        self.check_shares()

    def check_counts(self) -> None:
        for row in self.rows("fare_transfer_rules.txt"):
            within = row["from_leg_group_id"] == row["to_leg_group_id"]
            if within and row["from_leg_group_id"] and not row["transfer_count"]:
                self.fault("fare_transfer_rules.txt", row.line, "transfer_count", _COUNT_NEEDED)
            if not within and row["transfer_count"]:
                self.fault("fare_transfer_rules.txt", row.line, "transfer_count", _COUNT_FORBIDDEN, row["transfer_count"])

    def check_halves(self, file: str, one: str, other: str) -> None:
        for row in self.rows(file):
            if bool(row[one]) != bool(row[other]):
                missing, there = (other, one) if row[one] else (one, other)
                self.fault(file, row.line, there, _HALF, missing)

    def check_overlaps(self) -> None:
        kept: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for row in self.rows("timeframes.txt"):
            begin = (row["start_time"] or "00:00:00").zfill(8)
            end = (row["end_time"] or "24:00:00").zfill(8)
            others = kept.setdefault((row["timeframe_group_id"], row["service_id"]), [])
            if end <= begin:
                self.fault("timeframes.txt", row.line, "end_time", _BACKWARDS, row["end_time"])
            elif any(begin < other_end and other_begin < end for other_begin, other_end in others):
                self.fault("timeframes.txt", row.line, "start_time", _OVERLAP, row["start_time"])
            others.append((begin, end))

    def check_shares(self) -> None:
        sums: dict[str, Decimal] = {}
        for row in self.rows("apportionment_rules.txt"):
            sums[row["tariff_id"]] = sums.get(row["tariff_id"], Decimal(0)) + Decimal(row["percent"])
        for row in self.rows("apportionment_rules.txt"):
            total = sums.pop(row["tariff_id"], Decimal(100))
            if total != 100:  # noqa: PLR2004  percent
                self.fault("apportionment_rules.txt", row.line, "percent", _NOT_WHOLE, f"{total.normalize():f}")


def read_files(files: Mapping[str, bytes]) -> Feed:
    """The feed made of ``files`` (name to bytes).

    Raises:
        FeedRefused: with every problem found, at most ``PROBLEMS_MAX``.
    """
    return _Reader(files).read()


def read_feed(source: Path) -> Feed:
    """The feed in a ZIP file or a folder.

    Raises:
        FeedRefused: as :func:`read_files`, or when there is no feed at ``source``.
    """
    if source.is_dir():
        return read_files({path.name: path.read_bytes() for path in sorted(source.iterdir()) if path.is_file()})
    try:
        with zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and "/" not in entry.filename]
            if sum(entry.file_size for entry in entries) > BYTES_MAX:
                raise FeedRefused([Problem(file=source.name, line=0, field="", value="", reason=_TOO_LARGE)])
            return read_files({entry.filename: archive.read(entry) for entry in entries})
    except (zipfile.BadZipFile, OSError) as error:
        raise FeedRefused([Problem(file=source.name, line=0, field="", value=str(error), reason=_NOT_ZIP)]) from error
