"""The database port: run a unit of work in a write or read transaction."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, RowMapping, Select

T = TypeVar("T")
Values: TypeAlias = Mapping[str, object]


class DatabaseUnavailableError(ConnectionError):
    """The database server is unreachable or rejects the login."""


class Reads(Protocol):
    """Reads of a database. A unit of work may be retried: it must be rerunnable."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent snapshot, read-only; keep it short."""

    async def read_first(self, statement: Select[Any], values: Values) -> RowMapping | None:
        """Return the first row of one statement, or None."""


class Database(Reads, Protocol):
    """A database, from `open` to `close`."""

    async def open(self) -> None:
        """Connect and migrate the schema."""

    async def close(self) -> None:
        """Close all connections. Idempotent."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction; durable when this returns."""

    async def truncate_log(self) -> None:
        """Remove deleted data from the write-ahead log, as far as no reader needs it."""

    async def scrub(self) -> None:
        """Remove deleted data from the files as well. Raises `OSError`."""
