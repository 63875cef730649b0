"""Where exported bytes go, and the shape of what writes rows."""

from collections.abc import Iterable
from typing import Protocol

from sqlalchemy import RowMapping


class Sink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> int:
        """Take them all; return how many they were."""


class RowWriter(Protocol):
    """Writes rows in one format. `changed`: how many texts are not as they were."""

    changed: int

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Write rows."""

    def close(self) -> None:
        """End the file."""
