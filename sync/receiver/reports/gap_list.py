"""Gaps and unconfirmed epochs of one store or of all, acknowledged or not, in bounded reads."""

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import RowMapping, and_, or_

from sync.receiver.db.conditions import is_in_service
from sync.receiver.db.database import Database
from sync.receiver.db.paging import pages_of
from sync.receiver.db.tables import agents, gaps

_NEEDS_ACKNOWLEDGEMENT = and_(
    agents.c.is_current.is_(None),
    is_in_service(agents),
    or_(
        agents.c.acknowledged_at.is_not(None),
        agents.c.last_sequence > agents.c.accepted_through,
        and_(agents.c.followed_at.is_not(None), agents.c.ended_through.is_(None)),
    ),
)


def list_gaps(
    database: Database, store_id: str | None = None
) -> AsyncIterator[Sequence[RowMapping]]:
    """Return the pages of gaps, by store, till, epoch and number; without retired tills."""
    return pages_of(database, gaps, is_in_service(gaps), store_id)


def list_unconfirmed_epochs(
    database: Database, store_id: str | None = None
) -> AsyncIterator[Sequence[RowMapping]]:
    """Return the pages of the ended epochs that are not confirmed, or that lack events.

    With those that are acknowledged; by store, till and epoch.
    """
    return pages_of(database, agents, _NEEDS_ACKNOWLEDGEMENT, store_id)
