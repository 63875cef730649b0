"""Row filter of an export: table, store, time range."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Column, RowMapping, Table, and_, true

from sync.receiver.db.database import Database
from sync.receiver.db.paging import pages_of
from sync.receiver.db.period import EVER, Period, captured_at
from sync.receiver.db.tables import LedgerTable

_PAGE_ROWS = 1_000


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
    """Rows of one store or of all, received in a period, and captured in another one.

    The time of receipt is `noted_at` for `gaps` and `last_seen_at` for `agents`. Only sessions and
    answers have a time of capture.
    """

    exported: ExportTable = ExportTable.SESSIONS
    store_id: str | None = None
    received: Period = EVER
    captured: Period = EVER

    @property
    def has_capture_times(self) -> bool:
        """Return whether the rows have a time of capture."""
        return "corrected_at" in self.table.c

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
        captured = self.captured.contains(captured_at(table)) if self.captured else true()
        selected = and_(self.received.contains(time_column), captured)
        async for rows in pages_of(database, table, selected, self.store_id, size=_PAGE_ROWS):
            yield rows
