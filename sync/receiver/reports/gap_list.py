"""Gaps and unconfirmed epochs of one store or of all, acknowledged or not, in bounded reads."""

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import RowMapping, and_, or_

from sync.receiver.db.conditions import is_in_service
from sync.receiver.db.database import Database
from sync.receiver.db.paging import pages_of, store_ids_in
from sync.receiver.db.tables import agents, gaps

_PAGE_ROWS = 500
_NEEDS_ACKNOWLEDGEMENT = and_(
    agents.c.is_current.is_(None),
    is_in_service(agents),
    or_(
        agents.c.acknowledged_at.is_not(None),
        agents.c.last_sequence > agents.c.accepted_through,
        and_(agents.c.followed_at.is_not(None), agents.c.ended_through.is_(None)),
    ),
)


async def list_gaps(
    database: Database, store_id: str | None = None
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield non-empty pages of gaps, by store, till, epoch and number; without retired tills."""
    async for store in store_ids_in(database, [gaps], store_id):
        async for rows in pages_of(database, gaps, store, is_in_service(gaps), size=_PAGE_ROWS):
            yield rows


async def list_unconfirmed_epochs(
    database: Database, store_id: str | None = None
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield non-empty pages of the ended epochs that are not confirmed, or that lack events.

    With those that are acknowledged; by store, till and epoch.
    """
    async for store in store_ids_in(database, [agents], store_id):
        pages = pages_of(database, agents, store, _NEEDS_ACKNOWLEDGEMENT, size=_PAGE_ROWS)
        async for rows in pages:
            yield rows
