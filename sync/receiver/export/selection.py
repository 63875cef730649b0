"""Row filter of an export: table, store, time range."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum

from sqlalchemy import Column, RowMapping, Table, and_, true

from sync.protocol.rfc3339 import from_rfc3339
from sync.receiver.db.database import Database
from sync.receiver.db.paging import pages_of, store_ids_in
from sync.receiver.db.tables import LedgerTable

_PAGE_ROWS = 1000


class ExportTable(StrEnum):
    """Tables that can be exported."""

    SESSIONS = "sessions"
    EMAIL_ANSWERS = "email_answers"
    REJECTIONS = "rejections"
    DUPLICATES = "duplicates"
    GAPS = "gaps"
    AGENTS = "agents"


# Means something to ingest only.
_INTERNAL = {"digest"}
_TIME = {ExportTable.GAPS: "noted_at", ExportTable.AGENTS: "last_seen_at"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows with `since` <= `received_at` < `until`; None means unbounded.

    The column is `noted_at` for `gaps` and `last_seen_at` for `agents`.
    """

    exported: ExportTable = ExportTable.SESSIONS
    store_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def table(self) -> Table:
        """The selected table."""
        return LedgerTable.metadata.tables[self.exported]

    @property
    def columns(self) -> list[Column[object]]:
        """The columns that are exported."""
        return [column for column in self.table.columns if column.name not in _INTERNAL]

    async def pages(self, database: Database) -> AsyncIterator[Sequence[RowMapping]]:
        """Yield pages of rows, ordered by primary key (which begins with the store)."""
        table = self.table
        time_column = table.c[_TIME.get(self.exported, "received_at")]
        since = true() if self.since is None else time_column >= self.since
        until = true() if self.until is None else time_column < self.until
        async for store_id in store_ids_in(database, [table], self.store_id):
            async for rows in pages_of(
                database, table, store_id, and_(since, until), size=_PAGE_ROWS
            ):
                yield rows


def parse_time(text: str) -> datetime:
    """Parse a timestamp, or a day as its start in UTC. Raises `ValueError`."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        moment = from_rfc3339(text)
    if moment is None:
        raise ValueError("expected a day such as 2026-03-01, or a time such as 2026-03-01T08:00Z")
    return moment
