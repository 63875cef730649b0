"""Join codes of one store or of all, in bounded reads; the codes themselves are not stored."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, true

from sync.receiver.db.database import Reads
from sync.receiver.db.paging import pages_of
from sync.receiver.db.tables import join_codes
from sync.receiver.reports.json_views import json_members


def list_join_codes(
    database: Reads, store_id: str | None = None
) -> AsyncIterator[Sequence[RowMapping]]:
    """Return the pages of the newest code of each till, by store and till."""
    return pages_of(database, join_codes, true(), store_id)


def join_code_entry(row: RowMapping, now: datetime) -> dict[str, object]:
    """Return a code as it is listed: open, used or expired."""
    is_expired = now >= row["expires_at"]
    return {
        **json_members(row, ("store_id", "till_id")),
        "state": "used" if row["used_at"] else "expired" if is_expired else "open",
        **json_members(row, ("issued_at", "expires_at", "used_at")),
    }
