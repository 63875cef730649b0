"""Reads windows of the outbox: pending events, and dead letters to retry.

One statement for each window, over a range of positions; it never scans the backlog.
"""

import sqlite3
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, false, or_, select

from agent.facts import EmailStatus
from agent.store.crypto.vault import Vault
from agent.store.db.cursor import central_row, cursor_column, read_cursor
from agent.store.db.epochs import EpochRange, read_epochs
from agent.store.db.rows import checked_rows
from agent.store.db.sql import NO_OFFSET, Statement, compiled, constant
from agent.store.db.tables import ANSWER, BOOT, DEAD_LETTER, DOUBT, EVENT, SESSION, SETTLED
from agent.store.outbox.payloads import PayloadBuilder, with_address
from sync.delivery.outbox import BatchLimits, OutboxEvent, Window
from sync.delivery.outcomes import Refused
from sync.protocol.wire import EventType

_dead_session = DEAD_LETTER.alias("dead_session")
_later, _later_settled, _later_dead = (
    ANSWER.alias("later"),
    SETTLED.alias("later_settled"),
    DEAD_LETTER.alias("later_dead"),
)

_is_in_flight = and_(
    EVENT.c.position >= cursor_column("attempting_from"),
    EVENT.c.position <= cursor_column("attempting_through"),
)
_is_answer_of_rejected = and_(
    EVENT.c.session_position != EVENT.c.position, _dead_session.c.position.is_not(None)
)


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


def _select_events(
    is_doubtful: ColumnElement[bool],
    session_refused: ColumnElement[bool],
    is_overtaken: ColumnElement[bool],
) -> Select[tuple[object, ...]]:
    """Select the columns of `_Row`, in ascending order."""
    return (
        select(
            EVENT.c.position,
            EVENT.c.type,
            EVENT.c.session_position,
            SESSION.c.correlation_id,
            EVENT.c.occurred_at_us,
            EVENT.c.monotonic_us,
            BOOT.c.boot_id,
            EVENT.c.body,
            SESSION.c.query_locale,
            ANSWER.c.status,
            ANSWER.c.address,
            is_doubtful,
            session_refused,
            is_overtaken,
        )
        .outerjoin(SESSION, SESSION.c.position == EVENT.c.session_position)
        .outerjoin(BOOT, BOOT.c.number == EVENT.c.boot_number)
        .outerjoin(ANSWER, ANSWER.c.position == EVENT.c.position)
        .outerjoin(DOUBT, central_row(DOUBT, EVENT.c.position))
        .outerjoin(_dead_session, central_row(_dead_session, EVENT.c.session_position))
        .limit(bindparam("max_events"))
        .offset(NO_OFFSET)
    )


_is_overtaken = (
    exists()
    .where(
        _later.c.session_position == EVENT.c.session_position,
        _later.c.position > EVENT.c.position,
        EVENT.c.session_position != EVENT.c.position,
        or_(
            _later.c.position <= cursor_column("watermark"),
            exists().where(central_row(_later_settled, _later.c.position)),
        ),
        ~exists().where(central_row(_later_dead, _later.c.position)),
    )
    .correlate(EVENT)
)

PENDING = compiled(
    _select_events(
        or_(DOUBT.c.position.is_not(None), _is_in_flight), _is_answer_of_rejected, false()
    )
    .outerjoin(SETTLED, central_row(SETTLED, EVENT.c.position))
    .where(EVENT.c.position > bindparam("after"), SETTLED.c.position.is_(None))
    .order_by(EVENT.c.position)
)
# Only a dead letter's own attempts leave it in doubt, and a rejected session is no reason to
# reject it while that session is retried, too. A dead letter that is pending again since a rewind
# is sent in its turn, after the events before it that central lacks.
RETRIES = compiled(
    _select_events(
        DOUBT.c.position.is_not(None),
        and_(_is_answer_of_rejected, _dead_session.c.retry_wanted == constant(0)),
        _is_overtaken,
    )
    .add_columns(DEAD_LETTER.c.error_code, DEAD_LETTER.c.error_message, DEAD_LETTER.c.http_status)
    .join(DEAD_LETTER, central_row(DEAD_LETTER, EVENT.c.position))
    .outerjoin(SETTLED, central_row(SETTLED, EVENT.c.position))
    .where(
        or_(DEAD_LETTER.c.position <= cursor_column("watermark"), SETTLED.c.position.is_not(None)),
        DEAD_LETTER.c.position > bindparam("after"),
        DEAD_LETTER.c.retry_wanted == constant(1),
        DEAD_LETTER.c.discarded_at_us.is_(None),
    )
    .order_by(DEAD_LETTER.c.position)
)


class WindowReader:
    """Reads windows on a given connection."""

    def __init__(self, payloads: PayloadBuilder) -> None:
        self._payloads = payloads

    def pending(self, connection: sqlite3.Connection, limits: BatchLimits, after: int) -> Window:
        """Return the lowest unsettled events above `after`."""
        watermark = read_cursor(connection).watermark
        return self._window(connection, PENDING, limits, max(after, watermark))

    def retries(self, connection: sqlite3.Connection, limits: BatchLimits, after: int) -> Window:
        """Return the lowest dead letters above `after` that are marked for retry."""
        return self._window(connection, RETRIES, limits, after)

    def _window(
        self, connection: sqlite3.Connection, statement: Statement, limits: BatchLimits, after: int
    ) -> Window:
        epochs = read_epochs(connection)
        purged_through = read_cursor(connection).purged_through
        rows = checked_rows(statement.run(connection, after=after, max_events=limits.events), _Row)
        first = next(rows, None)
        if first is None:
            return Window(epochs.last.epoch, 1, ())
        known = epochs.range_at(first.position)
        events = list(self._events(chain([first], rows), known, limits.max_bytes))
        return Window(known.epoch, known.base_sequence(purged_through), events)

    def _events(
        self, rows: Iterator[_Row], known: EpochRange, max_bytes: int
    ) -> Iterator[OutboxEvent]:
        """Yield the events of `rows` up to the end of the epoch or `max_bytes`; at least one."""
        vault, size = cache(self._payloads.vault), 0
        for row in rows:
            if row.position > known.last_position:
                return
            event = self._event(row, known.base_position, vault)
            if size and size + len(event.body) > max_bytes:
                return
            size += len(event.body)
            yield event

    def _event(self, row: _Row, base_position: int, vault: Callable[[], Vault]) -> OutboxEvent:
        body = self._payloads.body(row.body, row.correlation_id, row.status, vault)
        is_erased = False
        if row.status == EmailStatus.ACCEPTED:
            address = self._payloads.address(row.address, row.correlation_id, vault)
            body, is_erased = with_address(body, address), address is None
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
