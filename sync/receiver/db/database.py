"""The database port: run a unit of work in a write or read transaction."""

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, RowMapping, Select

T = TypeVar("T")
Values: TypeAlias = Mapping[str, object]
# Data exception, and program limit exceeded.
_REFUSED_CLASSES = ("22", "54")
_REFUSED_BY_SQLITE = {"SQLITE_TOOBIG", "SQLITE_MISMATCH"}


class DatabaseUnavailableError(ConnectionError):
    """The database cannot be used; `sqlstate`: what the server, or a pooler, calls the cause."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class LostRaceError(DatabaseUnavailableError):
    """Another transaction changed which rows have to be locked; run this one again."""

    def __init__(self) -> None:
        super().__init__("another request of the same till was faster", "40001")


# A hardened service does not see other processes.
_ADVICE = ("end it, or let it finish", "`loyalty-hq doctor`, run as root, names it")


class DatabaseLockedError(TimeoutError):
    """Another process holds a lock on the database."""

    def __init__(self, path: Path, holder: str | None) -> None:
        """Name the database and the holder; None if that is hidden from this process."""
        words = f"{holder or 'another process'} locks the database: {_ADVICE[holder is None]}"
        super().__init__(errno.ETIMEDOUT, words, str(path))


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


def refused_value(error: Exception) -> str | None:
    """Return the name of an error that says that the database refuses a value; else None.

    The same statement without that value would succeed; repeating it as it is never will. The name
    is harmless in a log and on the wire, unlike the database's message, which may quote the value.
    """
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return f"SQLSTATE {state}" if state.startswith(_REFUSED_CLASSES) else None
    name = getattr(cause, "sqlite_errorname", None)
    if name is not None:
        return str(name) if name in _REFUSED_BY_SQLITE else None
    # By the driver, before the value was sent.
    by_driver = cause.__cause__ if cause is not error else cause
    if isinstance(by_driver, (OverflowError, UnicodeEncodeError)) or (
        cause is not error and isinstance(by_driver, ValueError)
    ):
        return type(by_driver).__name__
    return None
