"""Gaps of one store or of all, with their acknowledgements, in bounded reads."""

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import RowMapping

from sync.receiver.db.database import Database
from sync.receiver.db.paging import pages_of, store_ids_in
from sync.receiver.db.statements import is_in_service
from sync.receiver.db.tables import gaps

_PAGE_ROWS = 500


async def list_gaps(
    database: Database, store_id: str | None = None
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield non-empty pages of gaps, by store, till, epoch and number; without retired tills."""
    async for store in store_ids_in(database, [gaps], store_id):
        async for rows in pages_of(database, gaps, store, is_in_service(gaps), size=_PAGE_ROWS):
            yield rows
