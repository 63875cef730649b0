"""Kinds of value that SQLite and PostgreSQL have to agree on."""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec
from sqlalchemy import DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_WITHOUT_OFFSET = len("2026-01-01T00:00:00.000000")


class Moment(TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz`; in SQLite, which has none, ISO text that sorts by time."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str] | TypeEngine[datetime]:
        """Choose the column's type."""
        if _is_sqlite(dialect):
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> object:
        """Write a moment as the database has it."""
        if value is None or not _is_sqlite(dialect):
            return value
        return text_of(value)

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is the library's
        """Read a moment as Python has it."""
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value.astimezone(UTC) if isinstance(value, datetime) else None


class Texts(TypeDecorator[Collection[str]]):
    """Several texts as one value, a JSON array: PostgreSQL's driver takes longer for its own."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> str:  # noqa: ARG002 - the signature is the library's
        """Write the texts as the database is given them."""
        return msgspec.json.encode(value or ()).decode()


def text_of(moment: datetime) -> str:
    """Write a moment in UTC as SQLite keeps it: with microseconds, so that texts sort by time."""
    return f"{moment.isoformat(timespec='microseconds')[:_WITHOUT_OFFSET]}Z"


def _is_sqlite(dialect: Dialect) -> bool:
    return dialect.name == "sqlite"
