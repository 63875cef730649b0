"""Export formats: CSV and JSON lines.

CSV is as PostgreSQL writes it (RFC 4180, UTF-8, with a header): an empty string is quoted, NULL is
not. Values are unchanged, even those that a spreadsheet reads as a formula, unless
`for_spreadsheet` is set.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec
from sqlalchemy import RowMapping

from sync.protocol.rfc3339 import to_rfc3339

_NEEDS_QUOTES = re.compile(r'[",\r\n]|^$|^\s|\s$')
# Writes all of the bytes; returns their number.
Write: TypeAlias = Callable[[bytes], int]
# Where a spreadsheet may see a cell that begins with a formula. It may split the line at semicolons
# or tabs, as it does in countries with decimal commas, and then also at line breaks in a field.
# A cell that begins with a tab or a carriage return is read as if it began after it.
_FORMULA = re.compile(
    '(?:^|[;\t\r\n])(?=[\\s"]*[=+\\-@\uff1d\uff0b\uff0d\uff20])|(?:^|[;\r\n])(?="*[\t\r])'
)


class Format(StrEnum):
    """File formats."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class RowWriter:
    """Writes rows in one format. `changed` counts the values altered for spreadsheets."""

    changed = 0

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Write rows."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file."""


class CsvRows(RowWriter):
    """Writes rows as CSV. `for_spreadsheet` puts an apostrophe before each formula."""

    def __init__(
        self, write: Write, names: Sequence[str], *, for_spreadsheet: bool = False
    ) -> None:
        self._write_bytes = write
        self._names = names
        self._for_spreadsheet = for_spreadsheet
        self._write([",".join(names)])

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Write rows."""
        self._write(",".join(self._field(row[name]) for name in self._names) for row in rows)

    def _write(self, lines: Iterable[str]) -> None:
        self._write_bytes("".join(f"{line}\r\n" for line in lines).encode())

    def _field(self, value: object) -> str:
        match value:
            case None:
                return ""
            case bool():
                return "true" if value else "false"
            case str():
                return self._quoted(value)
            case _:
                return str(_plain(value))

    def _quoted(self, text: str) -> str:
        if self._for_spreadsheet and _FORMULA.search(text):
            self.changed += 1
            text = _FORMULA.sub(r"\g<0>'", text)
        if _NEEDS_QUOTES.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text


class JsonRows(RowWriter):
    """Writes rows as JSON lines: one object per row, with all columns."""

    def __init__(self, write: Write, names: Sequence[str]) -> None:
        self._write_bytes = write
        self._names = names

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Write rows."""
        lines = ({name: _plain(row[name]) for name in self._names} for row in rows)
        self._write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _plain(value: object) -> object:
    return to_rfc3339(value) if isinstance(value, datetime) else value
