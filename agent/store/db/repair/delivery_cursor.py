"""Repairs the delivery cursor: a position is used only as far as other rows confirm it."""

from collections.abc import Sequence

from agent.store.db.cursor import ADD_CURSOR, COLUMNS, READ_CURSOR, DeliveryCursor
from agent.store.db.event_rows import MAX_POSITION
from agent.store.db.repair.context import Repair
from agent.store.db.repair.evidence import Evidence

SET_VALUES = f"""
UPDATE destination SET {", ".join(f"{name} = ?" for name in COLUMNS)} WHERE name = 'central'
"""  # noqa: S608 - contains no value
OTHERS = """
UPDATE destination SET scrubs = 0
WHERE name = 'central' AND (typeof(scrubs) <> 'integer' OR scrubs < 0 OR scrubs > ?)
"""


def repair_cursor(repair: Repair, evidence: Evidence) -> int:
    """Repair the cursor's row; return the watermark.

    Too low a watermark sends events again, which head office recognises. Too high a one would lose
    them, and erase their addresses.
    """
    connection = repair.connection
    connection.execute(OTHERS, (MAX_POSITION,))
    row = connection.execute(READ_CURSOR).fetchone()
    believed = believed_cursor(row, evidence)
    if row is None and believed == DeliveryCursor():
        return 0
    if row is None or tuple(row) != tuple(believed):
        connection.execute(ADD_CURSOR)
        connection.execute(SET_VALUES, believed)
        reason = "its row was missing" if row is None else "a position was implausible"
        repair.note("destination", "central", reason)
    return believed.watermark


def believed_cursor(row: Sequence[object] | None, evidence: Evidence) -> DeliveryCursor:
    """Return the cursor in `row` (None: missing), corrected by `evidence`. Pure."""
    values = [_position(value) for value in row] if row is not None else [None] * len(COLUMNS)
    claimed = DeliveryCursor._make(-1 if value is None else value for value in values)
    watermark = _watermark(claimed, evidence)
    # If the range in flight is unknown, every pending event may have arrived.
    attempting = (claimed.attempting_from, claimed.attempting_through)
    if row is None or min(attempting) < 0:
        attempting = (watermark + 1, max(evidence.last, watermark + 1))
    purged = claimed.purged_through
    if purged < 0 or purged > watermark:
        # Below the lowest event nothing is held.
        purged = watermark if evidence.lowest is None else min(evidence.lowest - 1, watermark)
    if row is None and watermark == 0:
        return DeliveryCursor()
    erased = min(max(claimed.erased_through, 0), watermark)
    digests = min(max(claimed.digests_erased_through, 0), watermark)
    return DeliveryCursor(watermark, *attempting, erased, purged, digests)


def _watermark(claimed: DeliveryCursor, evidence: Evidence) -> int:
    """Return the watermark that the last acknowledgement and the purged events confirm."""
    delivered = evidence.delivered
    if delivered is not None and delivered > evidence.numbered:
        delivered = None
    reached = max(claimed.erased_through, claimed.purged_through, claimed.digests_erased_through)
    if evidence.lowest is None:
        # Positions that only the mark knows were purged, if the cursor says so; else they are lost.
        least = max(evidence.last, reached if reached <= evidence.numbered else 0)
    else:
        # Events below the lowest one were delivered: only delivered events are purged.
        least = evidence.lowest - 1
    if evidence.numbered == 0 and claimed.watermark > 0:
        # Everything is purged and there is no mark: only the watermark knows the last number, and
        # a wrong one can lose nothing.
        return claimed.watermark
    if not 0 <= claimed.watermark <= evidence.numbered:
        return max(delivered or 0, least)
    if claimed.watermark == delivered:
        return claimed.watermark
    if delivered is not None and claimed.watermark < min(max(reached, least), delivered):
        return delivered
    if evidence.undelivered is None or evidence.undelivered > claimed.watermark:
        # The events acknowledged since are purged, so it can lose nothing. With a lower one the
        # file would not know its last number.
        return claimed.watermark
    # An acknowledgement is kept as long as an event that it covers: this watermark is too high.
    confirmed = reached if delivered is None else delivered
    return min(claimed.watermark, max(confirmed, least))


def _position(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_POSITION else None
