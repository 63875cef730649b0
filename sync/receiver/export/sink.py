"""Protocols of the export: byte sink and row writer."""

from collections.abc import Iterable
from typing import Protocol

from sqlalchemy import RowMapping


class Sink(Protocol):
    """Receives bytes."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`; return its length."""


class RowWriter(Protocol):
    """Writes rows in one format. `changed` counts the values altered for spreadsheets."""

    changed: int

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Write rows."""

    def close(self) -> None:
        """Finish the file."""
