"""Column types that behave the same on SQLite and PostgreSQL."""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec
from sqlalchemy import DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from sync.protocol.rfc3339 import to_rfc3339

# In place of a time that a damaged row of a SQLite file does not tell: it must not stop the reader
# of all rows, and nobody takes it for a true one.
UNREADABLE_TIME = datetime.fromtimestamp(0, UTC)


class UtcTimestamp(TypeDecorator[datetime]):
    """UTC timestamp: `timestamptz` on PostgreSQL, sortable ISO text on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str] | TypeEngine[datetime]:
        """Return the dialect's column type."""
        if _is_sqlite(dialect):
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> object:
        """Convert a datetime to the database's representation."""
        if value is None or not _is_sqlite(dialect):
            return value
        return to_rfc3339(value)

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature is the library's
        """Convert the database's representation to an aware datetime."""
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value)
            except ValueError:
                return UNREADABLE_TIME
        if not isinstance(value, datetime):
            return None
        # Without an offset: the driver writes the first and the last time there is as infinity.
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)


class JsonTexts(TypeDecorator[Collection[str]]):
    """Several texts as one JSON array parameter; asyncpg encodes native arrays more slowly."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> str:  # noqa: ARG002 - the signature is the library's
        """Encode the texts as a JSON array."""
        return msgspec.json.encode(value or ()).decode()


def _is_sqlite(dialect: Dialect) -> bool:
    return dialect.name == "sqlite"
