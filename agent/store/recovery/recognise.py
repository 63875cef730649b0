"""Recognises the agent's rows by their columns, and believes none before its values are checked.

A page is not asked which table it belongs to: the page that says so may be damaged, and pages may
be swapped. Only `delivery` and `settled` look alike; their pages must be known.
"""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agent.facts import EmailStatus
from agent.store.crypto.vault import is_encrypted
from agent.store.db.event_rows import is_id, is_position
from agent.store.recovery.btree import Value
from sync.protocol.wire import EventType

# Times in microseconds up to the year 2255.
_MAX_NUMBER = 2**53
_MAX_TEXT = 1_024
# The columns of tables to which some were added, in the order of the record.
_EVENT = ("", "type", "session", "occurred at", "monotonic", "boot", "body", "checksum")
_EPOCH = ("", "epoch", "base", "began at", "reason", "moved events")
_LOST = (
    *("epoch", "held", "lost", "reason", "noticed at"),
    *("accepted", "told at", "returned", "moved"),
)
# Of a row that was written before they were added.
_LOST_DEFAULTS = (0, None, "")
_RETURNED = ("epoch", "first", "last")
_DELIVERED = ("destination", "position", "delivered at")
_LETTER = ("destination", "position", "code", "message", "status", "at", "attempts", "discarded")
_CURSOR = ("destination", "watermark", "from", "through", "erased", "purged")
_CENTRAL = "central"
_STATUSES = frozenset(EmailStatus)


class Row(NamedTuple):
    """A checked row: its table in the scratch file, and the values of its columns there."""

    table: str
    values: tuple[Value, ...]


def event(row_id: int, values: Sequence[Value]) -> Row | None:
    """Return a row of `event`; a file of an earlier version has no checksum."""
    if len(values) < len(_EVENT) - 1:
        return None
    kind, session, occurred_at, monotonic, boot, body, checksum = [*values, None][1 : len(_EVENT)]
    is_session = kind == EventType.SESSION_STARTED
    if not is_session and kind != EventType.EMAIL_ANSWERED:
        return None
    # A session is its own session, an answer follows it: this also proves the row id.
    if not (session == row_id if is_session else is_position(session)) or not _is_body(body):
        return None
    if not _are_numbers(monotonic, boot) or not isinstance(occurred_at, int):
        return None
    if not isinstance(checksum, int | None):
        return None
    return Row("event", (row_id, kind, session, occurred_at, monotonic, boot, body, checksum))


def epoch(row_id: int, values: Sequence[Value]) -> Row | None:
    """Return a row of `epoch`; a file of an earlier version has no number of moved events."""
    is_epoch = len(_EPOCH) - 1 <= len(values) <= len(_EPOCH)
    if not is_epoch or not is_id(values[1]) or not isinstance(values[4], str):
        return None
    moved = values[5] if len(values) == len(_EPOCH) else None
    if not _are_numbers(*values[2:4]) or not (moved is None or _are_numbers(moved)):
        return None
    return Row("epoch", (row_id, *values[1:3], values[4], moved))


def lost_captures(row_id: int, values: Sequence[Value]) -> Row | None:
    """Return a row of `lost_captures`."""
    added = len(values) - len(_LOST)
    if not 0 <= added <= len(_LOST_DEFAULTS) or not is_id(values[0]) or not _is_text(values[3]):
        return None
    values = [*values, *_LOST_DEFAULTS[added:]]
    *_, named, acknowledged_at, found_with = values
    optional = [value for value in (*values[5:7], acknowledged_at) if value is not None]
    if not _are_numbers(*values[1:3], values[4], *values[7:9], named, *optional):
        return None
    if found_with and not is_id(found_with):
        return None
    return Row("lost_captures", (row_id, *values))


def returned(row_id: int, values: Sequence[Value]) -> Row | None:
    """Return a row of `returned_numbers`; `delivery` and `settled` have another first column."""
    if len(values) != len(_RETURNED) or not is_id(values[0]) or values[0] == _CENTRAL:
        return None
    first, last = values[1:]
    if not (isinstance(first, int) and isinstance(last, int) and 0 < first <= last <= _MAX_NUMBER):
        return None
    return Row("returned", (row_id, *values))


def dead_letter(_: int, values: Sequence[Value]) -> Row | None:
    """Return a row of `dead_letter`."""
    if len(values) < len(_LETTER) or values[0] != _CENTRAL or not _are_numbers(values[1]):
        return None
    if not isinstance(values[2], str) or not isinstance(values[3], str):
        return None
    return Row("dead_letter", (values[1], int(values[7] is not None)))


def destination(_: int, values: Sequence[Value]) -> Row | None:
    """Return a row of `destination`: its watermark, and how far addresses are erased."""
    # A row of the first schema is shorter, and looks like others: in doubt nothing is delivered.
    if len(values) < len(_CURSOR) or values[0] != _CENTRAL or not _are_numbers(*values[1:6]):
        return None
    return Row("destination", (1, values[1], values[4]))


def delivered(table: str, values: Sequence[Value]) -> Row | None:
    """Return a row of `delivery` or `settled`: a position and a time."""
    if len(values) != len(_DELIVERED) or values[0] != _CENTRAL or not _are_numbers(*values[1:]):
        return None
    return Row(table, (values[1],))


_CHECKS = (event, epoch, lost_captures, returned, dead_letter, destination)


def recognise(row_id: int, values: Sequence[Value], table: str | None) -> Row | None:
    """Return the row in a cell; `table` is that of its page, if known. None: no row of ours."""
    if not is_position(row_id):
        return None
    if table is not None and (found := delivered(table, values)):
        return found
    if found := _of_shape(row_id, values):
        return found
    return next((found for check in _CHECKS if (found := check(row_id, values))), None)


def _of_shape(row_id: int, values: Sequence[Value]) -> Row | None:
    """Return a row of a table of `_SHAPES`."""
    for table, checks in _SHAPES.items():
        if len(values) == len(checks) and all(
            check(value) for check, value in zip(checks, values, strict=True)
        ):
            return Row(table, (row_id, *values[1:]))
    return None


def _is_anything(_: Value) -> bool:
    return True


def _are_numbers(*values: Value) -> bool:
    return all(isinstance(value, int) and 0 <= value <= _MAX_NUMBER for value in values)


def _is_text(value: Value) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT


def _is_blob(value: Value) -> bool:
    return value is None or isinstance(value, bytes)


def _is_text_or_none(value: Value) -> bool:
    return value is None or _is_text(value)


def _is_body(body: Value) -> bool:
    """Return whether `body` is encrypted or a JSON object."""
    if not isinstance(body, bytes):
        return False
    if is_encrypted(body):
        return True
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


# Tables whose rows always had the same columns, by the check of each. The first column is the key,
# which SQLite stores as the row id. An answer whose event is purged belongs to no session, 0, and
# is not recognised. An alias is the receipt of a capture that was salvaged before.
_SHAPES: dict[str, tuple[Callable[[Value], bool], ...]] = {
    "session": (_is_anything, _is_text, _is_text_or_none, lambda closed: closed in (0, 1)),
    "answer": (_is_anything, is_position, _STATUSES.__contains__, _is_blob, _is_blob),
    "boot": (_is_anything, is_id, _are_numbers),
    "alias": (_is_anything, is_position, is_id),
}
