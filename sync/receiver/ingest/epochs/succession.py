"""Succession of epochs: another epoch becomes the till's current one. Pure, no I/O.

Usually that is a new epoch, and its machine reports the end of the one before. A machine that was
replaced and comes back (its disk was found) is a visitor: its epoch is current until the
replacement is heard again. If the visitor has delivered all, and all captures since are on the
replacement, its epoch is confirmed.

A `closed` heartbeat confirms nothing, even with all delivered: the machine may have been started
again without a line to head office, have captured, and have died.
"""

from datetime import datetime

from sqlalchemy import RowMapping

from sync.receiver.ingest.rows import Row, acknowledgement_row


def captured_last(
    heartbeat_at: datetime | None, sent_at: datetime | None, last_activity_at: datetime | None
) -> datetime | None:
    """Return our time of a machine's last capture; None if unknown. Its clock may be wrong."""
    if heartbeat_at is None or sent_at is None or last_activity_at is None:
        return None
    return heartbeat_at - (sent_at - last_activity_at)


def end_of(row: RowMapping | None, follower_captured_at: datetime | None, now: datetime) -> Row:
    """Return the columns of the current epoch `row`, if known, which another epoch follows now.

    `follower_captured_at` is our time of the last capture on the follower's machine; None if it is
    unknown, or if its epoch is new.
    """
    # A person who accepted an earlier end did not know of this one.
    ends_now: Row = {"followed_at": now, **acknowledgement_row(None)}
    if row is None or row["followed_at"] is None:
        return ends_now
    captured_at = captured_last(row["heartbeat_at"], row["agent_sent_at"], row["last_activity_at"])
    if captured_at is None or captured_at >= row["followed_at"]:
        return ends_now
    has_delivered_all = row["accepted_through"] >= row["last_sequence"] and not row["outstanding"]
    is_visitor = follower_captured_at is not None and captured_at < follower_captured_at
    if has_delivered_all and is_visitor:
        return {"ended_through": row["last_sequence"]}
    return {}
