"""State of captures, of a session or the newest ones: receipts and delivery."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agent.facts import DeliveryState, EmailStatus, Receipt
from agent.store.db.cursor import read_cursor
from agent.store.db.epochs import Epochs, read_epochs
from agent.store.db.event_rows import MAX_POSITION
from agent.store.db.rows import int_or_none

_STATE = """
event.position, event.session_position, occurred_at_us, email_answer.status,
    dead_letter.position IS NOT NULL, dead_letter.stuck_since_us IS NOT NULL,
    coalesce(settled.delivered_at_us, (
        SELECT delivered_at_us FROM delivery
        WHERE destination = 'central' AND through_position >= event.position
        ORDER BY through_position LIMIT 1
    )), receipt_alias.epoch, receipt_alias.sequence
FROM event LEFT JOIN receipt_alias ON receipt_alias.position = event.position
LEFT JOIN email_answer ON email_answer.position = event.position
LEFT JOIN dead_letter ON dead_letter.destination = 'central'
    AND dead_letter.position = event.position
LEFT JOIN settled ON settled.destination = 'central' AND settled.position = event.position
"""
_CAPTURES = f"""
WITH start AS (SELECT position FROM session WHERE correlation_id = :correlation_id)
SELECT {_STATE}
WHERE event.position IN (
    SELECT position FROM start UNION ALL SELECT email_answer.position
    FROM start JOIN email_answer ON email_answer.session_position = start.position
)
ORDER BY event.position
"""  # noqa: S608 - contains no value
_NEWEST = f"""
SELECT {_STATE}
WHERE event.position BETWEEN 1 AND {MAX_POSITION} ORDER BY event.position DESC LIMIT :limit
"""


class _Capture(NamedTuple):
    position: int
    session_position: int
    occurred_at_us: int
    status: EmailStatus | None
    is_set_apart: int
    is_deferred: int
    delivered_at_us: int | None
    alias_epoch: str | None
    alias_sequence: int | None


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """State of one capture. Times in microseconds since 1970 UTC; `status` of an e-mail answer.

    `is_answer`: an e-mail answer, even if its status is damaged.
    """

    receipt: Receipt
    captured_at_us: int
    state: DeliveryState
    delivered_at_us: int | None
    status: EmailStatus | None
    is_answer: bool


def read_captures(connection: sqlite3.Connection, correlation_id: str) -> list[CaptureStatus]:
    """Return a session start and its answers, in order; empty if there is none."""
    return _read(connection, _CAPTURES, {"correlation_id": correlation_id})


def read_newest(connection: sqlite3.Connection, limit: int) -> list[CaptureStatus]:
    """Return the newest captures by their order, the newest first."""
    return _read(connection, _NEWEST, {"limit": limit})


def _read(
    connection: sqlite3.Connection, query: str, values: Mapping[str, object]
) -> list[CaptureStatus]:
    epochs = read_epochs(connection)
    watermark = read_cursor(connection).watermark
    return [
        CaptureStatus(
            receipt=_receipt(row, epochs),
            captured_at_us=row.occurred_at_us,
            state=_state(row, watermark),
            delivered_at_us=None if row.is_set_apart else row.delivered_at_us,
            status=row.status,
            is_answer=row.session_position != row.position,
        )
        for row in map(_capture, connection.execute(query, values))
    ]


def _receipt(row: _Capture, epochs: Epochs) -> Receipt:
    """Return the first receipt of the capture."""
    if row.alias_epoch is None or row.alias_sequence is None:
        return epochs.receipt(row.position)
    return Receipt(row.alias_epoch, row.alias_sequence)


def _capture(values: Sequence[object]) -> _Capture:
    """Return a capture; a damaged value is unknown, and the delivery reports it."""
    row = _Capture._make(values)
    is_alias = isinstance(row.alias_epoch, str) and isinstance(row.alias_sequence, int)
    return row._replace(
        occurred_at_us=int_or_none(row.occurred_at_us) or 0,
        status=next((known for known in EmailStatus if known == row.status), None),
        delivered_at_us=int_or_none(row.delivered_at_us),
        alias_epoch=row.alias_epoch if is_alias else None,
    )


def _state(row: _Capture, watermark: int) -> DeliveryState:
    if row.is_set_apart:
        return DeliveryState.WAITING if row.is_deferred else DeliveryState.REFUSED
    is_settled = row.position <= watermark or row.delivered_at_us is not None
    return DeliveryState.DELIVERED if is_settled else DeliveryState.WAITING
