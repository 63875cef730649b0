"""What the ledger needs of a database: whole pieces of work, written or read."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, RowMapping, Select

T = TypeVar("T")
Values: TypeAlias = Mapping[str, object]


class DatabaseUnavailableError(ConnectionError):
    """The database server cannot be reached, or does not let us in."""


class Database(Protocol):
    """A database, from `open` to `close`. A piece of work may be run more than once."""

    async def open(self) -> None:
        """Open it, and bring its schema up to date."""

    async def close(self) -> None:
        """Close all connections; twice is harmless."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction: committed and on the disk when this returns."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Let `work` read one state of the database; keep it short."""

    async def read_first(self, statement: Select[Any], values: Values) -> RowMapping | None:
        """Return the first row that one statement finds; None where it finds none."""

    async def scrub(self) -> None:
        """Take out of the files what was erased from the tables. Raises `OSError`."""
