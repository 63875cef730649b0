"""Reads windows of the outbox: pending events, and dead letters to retry.

One statement for each window, over a range of positions; it never scans the backlog.
"""

import sqlite3
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from agent.facts import EmailStatus
from agent.store.crypto.vault import Vault, read_vault
from agent.store.db.cursor import read_cursor
from agent.store.db.epochs import EpochRange, read_epochs
from agent.store.db.rows import checked_rows
from agent.store.outbox.payloads import PayloadBuilder
from sync.delivery.outbox import BatchLimits, OutboxEvent, Window
from sync.delivery.outcomes import Refused
from sync.protocol.wire import EventType

# The columns of `_Row`, in its order; `is_doubtful` and those after it differ.
_COLUMNS = """event.position, event.type, event.session_position, session.correlation_id,
    event.occurred_at_us, event.monotonic_us, boot.boot_id, event.body, session.query_locale,
    email_answer.status, email_answer.address"""
_BESIDE = """
LEFT JOIN session ON session.position = event.session_position
LEFT JOIN boot ON boot.number = event.boot_number
LEFT JOIN email_answer ON email_answer.position = event.position
LEFT JOIN doubt ON doubt.destination = 'central' AND doubt.position = event.position
LEFT JOIN dead_letter AS dead_session ON dead_session.destination = 'central'
    AND dead_session.position = event.session_position AND event.session_position <> event.position
LEFT JOIN settled ON settled.destination = 'central' AND settled.position = event.position
"""
PENDING = f"""
SELECT {_COLUMNS},
    doubt.position IS NOT NULL OR event.position BETWEEN :attempting_from AND :attempting_through,
    dead_session.position IS NOT NULL, FALSE
FROM event {_BESIDE}
WHERE event.position > max(:after, :watermark) AND settled.position IS NULL
ORDER BY event.position LIMIT :max_events
"""  # noqa: S608 - contains no value
# Only a dead letter's own attempts leave it in doubt, and a rejected session is no reason to
# reject it while that session is retried, too. A dead letter that is pending again since a rewind
# is sent in its turn, after the events before it that central lacks.
RETRIES = f"""
SELECT {_COLUMNS},
    doubt.position IS NOT NULL, dead_session.retry_wanted IS 0, EXISTS (
        SELECT 1 FROM email_answer AS later
        WHERE later.session_position = event.session_position AND later.position > event.position
            AND event.session_position <> event.position
            AND (later.position <= :watermark OR EXISTS (
                SELECT 1 FROM settled WHERE destination = 'central' AND position = later.position
            ))
            AND NOT EXISTS (
                SELECT 1 FROM dead_letter AS dead
                WHERE dead.destination = 'central' AND dead.position = later.position
            )
    ),
    dead_letter.error_code, dead_letter.error_message, dead_letter.http_status
FROM dead_letter JOIN event ON event.position = dead_letter.position {_BESIDE}
WHERE dead_letter.destination = 'central' AND dead_letter.position > :after
    AND dead_letter.retry_wanted = 1 AND dead_letter.discarded_at_us IS NULL
    AND (dead_letter.position <= :watermark OR settled.position IS NOT NULL)
ORDER BY dead_letter.position LIMIT :max_events
"""  # noqa: S608 - contains no value


HAS_LOST = "SELECT 1 FROM lost_captures WHERE epoch = ?"


class _Row(NamedTuple):
    position: int
    type: EventType
    session_position: int
    correlation_id: str
    occurred_at_us: int
    monotonic_us: int
    boot_id: str
    body: bytes
    query_locale: str | None
    status: EmailStatus | None
    address: bytes | None
    is_doubtful: int
    session_refused: int
    is_overtaken: int
    error_code: str | None = None
    error_message: str | None = None
    http_status: int | None = None


class WindowReader:
    """Reads windows on a given connection. Raises `UnusableKey` or `OSError` without a key."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._payloads = PayloadBuilder()

    def read(
        self, connection: sqlite3.Connection, sql: str, limits: BatchLimits, after: int
    ) -> Window:
        """Return the lowest events above `after` of `PENDING` or `RETRIES`, of one epoch."""
        epochs, cursor = read_epochs(connection), read_cursor(connection)
        values = cursor._asdict() | {"after": after, "max_events": limits.events}
        rows = checked_rows(connection.execute(sql, values), _Row)
        first = next(rows, None)
        if first is None:
            return Window(epochs.last.epoch, 1, ())
        known = epochs.range_at(first.position)
        events = list(self._events(chain([first], rows), known, limits.max_bytes))
        base_sequence = known.base_sequence(cursor.purged_through)
        is_ended = known.epoch != epochs.last.epoch
        if is_ended and connection.execute(HAS_LOST, (known.epoch,)).fetchone():
            is_ended = False  # it had more events, and a heartbeat says what became of them
        ended_at = known.last_sequence if is_ended else None
        return Window(known.epoch, base_sequence, events, ended_at)

    def _events(
        self, rows: Iterator[_Row], known: EpochRange, max_bytes: int
    ) -> Iterator[OutboxEvent]:
        """Yield the events of `rows` up to the end of the epoch or `max_bytes`; at least one."""
        vault, size = cache(partial(read_vault, self._key_file)), 0
        for row in rows:
            if row.position > known.last_position:
                return
            event = self._event(row, known.base_position, vault)
            if size and size + len(event.body) > max_bytes:
                return
            size += len(event.body)
            yield event

    def _event(self, row: _Row, base_position: int, vault: Callable[[], Vault]) -> OutboxEvent:
        body, is_erased = self._payloads.build(
            row.body, row.correlation_id, row.status, row.address, vault
        )
        return OutboxEvent(
            position=row.position,
            sequence=row.position - base_position,
            type=row.type,
            session=row.session_position,
            correlation_id=row.correlation_id,
            occurred_at_us=row.occurred_at_us,
            monotonic_us=row.monotonic_us,
            boot_id=row.boot_id,
            query_locale=row.query_locale if row.status is None else None,
            body=body,
            is_erased=is_erased,
            is_doubtful=bool(row.is_doubtful),
            session_refused=bool(row.session_refused),
            is_overtaken=bool(row.is_overtaken),
            refusal=_refusal(row),
        )


def _refusal(row: _Row) -> Refused | None:
    if row.error_code is None or row.error_message is None:
        return None
    return Refused(row.error_code, row.error_message, row.http_status)
