"""Join codes of one store or of all, in bounded reads; the codes themselves are not stored."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from sqlalchemy import RowMapping, true

from sync.protocol.rfc3339 import json_time
from sync.receiver.db.database import Reads
from sync.receiver.db.paging import pages_of, store_ids_in
from sync.receiver.db.tables import join_codes

_PAGE_ROWS = 500


async def list_join_codes(
    database: Reads, store_id: str | None = None
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield non-empty pages of the newest code of each till, by store and till."""
    async for store in store_ids_in(database, [join_codes], store_id):
        async for rows in pages_of(database, join_codes, store, true(), size=_PAGE_ROWS):
            yield rows


def join_code_entry(row: RowMapping, now: datetime) -> dict[str, object]:
    """Return a code as it is listed: open, used or expired."""
    is_expired = now >= row["expires_at"]
    return {
        "storeId": row["store_id"],
        "tillId": row["till_id"],
        "state": "used" if row["used_at"] else "expired" if is_expired else "open",
        "issuedAt": json_time(row["issued_at"]),
        "expiresAt": json_time(row["expires_at"]),
        "usedAt": json_time(row["used_at"]),
    }
