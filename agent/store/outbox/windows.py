"""Reads windows of the outbox: pending events, and dead letters to retry.

One statement for each window, over a range of positions; it never scans the backlog.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from agent.facts import Receipt
from agent.store.crypto.old_keys import read_with_old_keys
from agent.store.crypto.vault import OtherKeyError, UnusableKey, Vault
from agent.store.db.cursor import read_cursor
from agent.store.db.epochs import EpochRange, read_epochs
from agent.store.db.event_rows import DamagedEvent, StoredEvent, check_event
from agent.store.db.rows import int_or_none, readable, undecoded_text
from agent.store.db.structure_check import StructureCheck
from agent.store.files.storage_errors import CorruptRow, is_undecodable
from agent.store.outbox.payloads import PayloadBuilder
from sync.delivery.outbox import BatchLimits, OutboxEvent, Window
from sync.delivery.outcomes import Refused
from sync.protocol.wire import ErrorCode, EventType
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_MAX_LOGGED = 1_000
# A time of a next try beyond it: the clock was set back since.
_LONGEST_WAIT_US = 2 * 3_600 * 1_000_000
UNREADABLE = "unreadable"

# The columns of `check_event`, but for the position before them. Four of a `_Row` follow, and with
# a dead letter its last refusal and attempts.
_COLUMNS = """event.type, event.session_position, session.correlation_id,
    event.occurred_at_us, event.monotonic_us, event.boot_number, boot.boot_id, event.body,
    session.query_locale, email_answer.status, email_answer.address, event.checksum"""
_CHECKED = len(StoredEvent._fields)
_FLAGGED = _CHECKED + 4
_BESIDE = """
LEFT JOIN session ON session.position = event.session_position
LEFT JOIN boot ON boot.number = event.boot_number
LEFT JOIN email_answer ON email_answer.position = event.position
LEFT JOIN doubt ON doubt.destination = 'central' AND doubt.position = event.position
LEFT JOIN dead_letter AS dead_session ON dead_session.destination = 'central'
    AND dead_session.position = event.session_position AND event.session_position <> event.position
LEFT JOIN settled ON settled.destination = 'central' AND settled.position = event.position
"""
# The first condition is evaluated once; the others only if there are deferred events.
_IS_WAITING = """EXISTS (
    SELECT 1 FROM dead_letter WHERE destination = 'central' AND stuck_since_us IS NOT NULL
) AND event.session_position <> event.position AND EXISTS (
    SELECT 1 FROM dead_letter AS earlier
    WHERE earlier.destination = 'central' AND earlier.position < event.position
        AND earlier.stuck_since_us IS NOT NULL AND (
            earlier.position = event.session_position OR earlier.position IN (
                SELECT position FROM email_answer
                WHERE email_answer.session_position = event.session_position
            )
        )
        {but_not}
)"""
# Not those that are tried in the same pass, in front of it.
_IS_DUE = """{table}.retry_wanted = 1 AND (
    {table}.next_try_at_us <= :now_us OR {table}.next_try_at_us > :now_us + :longest_wait_us
)"""
PENDING = f"""
SELECT event.position, {_COLUMNS},
    doubt.position IS NOT NULL OR event.position BETWEEN :attempting_from AND :attempting_through,
    dead_session.position IS NOT NULL AND dead_session.stuck_since_us IS NULL,
    {_IS_WAITING.format(but_not="")}, FALSE
FROM event {_BESIDE}
WHERE event.position > max(:after, :watermark) AND event.position <= :last
    AND settled.position IS NULL
ORDER BY event.position LIMIT :max_events
"""  # noqa: S608 - contains no value
# Only a dead letter's own attempts leave it in doubt, and a rejected session is no reason to
# reject it while that session is retried, too. A dead letter that is pending again since a rewind
# is sent in its turn, after the events before it that central lacks.
RETRIES = f"""
SELECT dead_letter.position, {_COLUMNS},
    doubt.position IS NOT NULL,
    dead_session.retry_wanted IS 0 AND dead_session.stuck_since_us IS NULL,
    {_IS_WAITING.format(but_not=f"AND NOT ({_IS_DUE.format(table='earlier')})")}, EXISTS (
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
    dead_letter.error_code, dead_letter.error_message, dead_letter.http_status,
    dead_letter.stuck_since_us, dead_letter.attempts
FROM dead_letter LEFT JOIN event ON event.position = dead_letter.position {_BESIDE}
WHERE dead_letter.destination = 'central' AND dead_letter.position > :after
    AND {_IS_DUE.format(table="dead_letter")} AND dead_letter.discarded_at_us IS NULL
    AND dead_letter.position <= :last
    AND (dead_letter.position <= :watermark OR EXISTS (
        SELECT 1 FROM settled
        WHERE settled.destination = 'central' AND settled.position = dead_letter.position
    ))
ORDER BY dead_letter.position LIMIT :max_events
"""  # noqa: S608 - contains no value
HAS_LOST = "SELECT 1 FROM lost_captures WHERE epoch = ?"
SETTLED_BETWEEN = """
SELECT position FROM settled
WHERE destination = 'central' AND position BETWEEN ? AND ? AND typeof(position) = 'integer'
"""
_MISSING = "its row is missing"
KEY_LOST = Refused(
    ErrorCode.KEY_LOST,
    "its e-mail address was encrypted with a key that this machine has not any more: put the key"
    " back from its copy, and it is sent again; else discard it",
    None,
)


class _Row(NamedTuple):
    """An event, believed or not, and what is known of its attempts."""

    event: StoredEvent | DamagedEvent
    is_doubtful: bool = False
    session_refused: bool = False
    is_waiting: bool = False
    is_overtaken: bool = False
    refusal: Refused | None = None
    attempts: int = 0


class WindowReader:
    """Reads windows on a given connection. Raises `UnusableKey` or `OSError` without a key."""

    def __init__(self, key_file: Path, directory: Path) -> None:
        """Prepare; old keys are in the storage `directory`."""
        self._key_file = key_file
        self._directory = directory
        self._last_vault: Vault | None = None
        self._payloads = PayloadBuilder()
        self._damage = DamageLog()
        self._structure = StructureCheck()

    def read(
        self, connection: sqlite3.Connection, sql: str, limits: BatchLimits, after: int, now_us: int
    ) -> Window:
        """Return the lowest events above `after` of `PENDING` or `RETRIES`, of one epoch.

        A damaged event is among them, with its damage.
        """
        try:
            return self._read(connection, sql, limits, after, now_us)
        except sqlite3.OperationalError as error:
            if not is_undecodable(error):
                raise
        with undecoded_text(connection):
            return self._read(connection, sql, limits, after, now_us)

    def _read(
        self, connection: sqlite3.Connection, sql: str, limits: BatchLimits, after: int, now_us: int
    ) -> Window:
        epochs, cursor = read_epochs(connection), read_cursor(connection)
        last = epochs.last_position
        values = cursor._asdict() | {"after": after, "last": last, "max_events": limits.events}
        values |= {"now_us": now_us, "longest_wait_us": _LONGEST_WAIT_US}
        rows: Iterator[_Row] = map(_row, connection.execute(sql, values))
        if sql == PENDING:
            above = max(after, cursor.watermark)
            every = _with_missing(connection, rows, above, last, limits.events)
            rows = islice(every, limits.events)
        first = next(rows, None)
        if first is None:
            return Window(epochs.last.epoch, 1, ())
        known = epochs.range_at(first.event.position)
        adjacent = _without_purged_between(chain([first], rows), cursor.purged_through)
        events = list(self._events(adjacent, known, limits.max_bytes))
        if damaged := sum(_is_damaged(event) for event in events):
            self._structure.require_sound(connection, damaged)
        base_sequence = known.base_sequence(cursor.purged_through)
        is_ended = known.epoch != epochs.last.epoch
        if is_ended and connection.execute(HAS_LOST, (known.epoch,)).fetchone():
            is_ended = False  # it had more events, and a heartbeat says what became of them
        ended_at = known.last_sequence if is_ended else None
        return Window(known.epoch, base_sequence, events, ended_at, last)

    def _events(
        self, rows: Iterator[_Row], known: EpochRange, max_bytes: int
    ) -> Iterator[OutboxEvent]:
        """Yield the events of `rows` up to the end of the epoch or `max_bytes`; at least one."""
        vault, size = cache(self._vault), 0
        for row in rows:
            if row.event.position > known.last_position:
                return
            event = self._event(row, known, vault)
            if size and size + len(event.body) > max_bytes:
                return
            size += len(event.body)
            yield event

    def _event(self, row: _Row, known: EpochRange, vault: Callable[[], Vault]) -> OutboxEvent:
        event = row.event
        if isinstance(event, DamagedEvent):
            return self._damaged(event, row, known)
        try:
            body, is_erased = self._payloads.build(
                event.body, event.correlation_id, event.status, event.address, vault
            )
        except CorruptRow:
            fault = DamagedEvent(event.position, "its body is no JSON", event.type)
            return self._damaged(fault, row, known)
        except OtherKeyError:
            return _number_of(event, row, known, KEY_LOST)
        return OutboxEvent(
            position=event.position,
            sequence=event.position - known.base_position,
            type=event.type,
            session=event.session_position,
            correlation_id=event.correlation_id,
            occurred_at_us=event.occurred_at_us,
            monotonic_us=event.monotonic_us,
            boot_id=event.boot_id,
            query_locale=event.query_locale if event.status is None else None,
            body=body,
            is_erased=is_erased,
            is_doubtful=row.is_doubtful,
            session_refused=row.session_refused,
            is_overtaken=row.is_overtaken,
            refusal=row.refusal,
            attempts=row.attempts,
            is_waiting=row.is_waiting,
        )

    def _damaged(self, event: DamagedEvent, row: _Row, known: EpochRange) -> OutboxEvent:
        receipt = Receipt(known.epoch, event.position - known.base_position)
        self._damage.add(receipt, event.fault)
        refused = Refused(ErrorCode.DAMAGED, f"the stored event is damaged: {event.fault}", None)
        return _number_of(event, row, known, refused)

    def _vault(self) -> Vault:
        """Return the keys as they are now, or as they were before the key file was spoilt."""
        try:
            self._last_vault = read_with_old_keys(self._key_file, self._directory)
        except (UnusableKey, OSError):
            if self._last_vault is None:
                raise
        return self._last_vault


def _number_of(
    event: StoredEvent | DamagedEvent, row: _Row, known: EpochRange, verdict: Refused
) -> OutboxEvent:
    """Return an event that cannot be sent: its number without a content, and the verdict on it."""
    return OutboxEvent(
        position=event.position,
        sequence=event.position - known.base_position,
        type=event.type or EventType.SESSION_STARTED,
        session=event.session_position or event.position,
        correlation_id=event.correlation_id,
        occurred_at_us=event.occurred_at_us,
        monotonic_us=0,
        boot_id="",
        query_locale=None,
        body=b"{}",
        is_doubtful=row.is_doubtful,
        damage=verdict,
    )


def _is_damaged(event: OutboxEvent) -> bool:
    return event.damage is not None and event.damage.error_code == ErrorCode.DAMAGED


class DamageLog:
    """Logs each damaged event once."""

    def __init__(self) -> None:
        self._logged: set[Receipt] = set()

    def add(self, receipt: Receipt, fault: str) -> None:
        """Log a damaged event, unless it is known or very many are."""
        if receipt not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(receipt)
            log_event(_log, logging.ERROR, "event.damaged", receipt=str(receipt), reason=fault)


def _without_purged_between(rows: Iterator[_Row], purged_through: int) -> Iterator[_Row]:
    """Yield `rows` up to the first number that is purged: a central that was emptied lacks it.

    To such a batch it would answer that numbers are missing.
    """
    before: int | None = None
    for row in rows:
        if row.event.position <= purged_through and before not in (None, row.event.position - 1):
            return
        before = row.event.position
        yield row


def _row(values: tuple[object, ...]) -> _Row:
    event = check_event(values[:_CHECKED])
    is_doubtful, session_refused, is_waiting, is_overtaken = map(bool, values[_CHECKED:_FLAGGED])
    letter = values[_FLAGGED:]
    attempts = int_or_none(letter[-1]) or 0 if letter else 0
    flags = is_doubtful, session_refused, is_waiting, is_overtaken
    return _Row(event, *flags, _refusal(letter), attempts)


def _refusal(values: Sequence[object]) -> Refused | None:
    """Return the last refusal of a dead letter; a text that cannot be read does not hold it up."""
    if not values:
        return None
    code, message, status, stuck_since_us, _ = values
    if stuck_since_us is not None:
        return None
    texts = readable(code, UNREADABLE), readable(message, UNREADABLE)
    return Refused(*texts, int_or_none(status))


def _with_missing(
    connection: sqlite3.Connection, rows: Iterator[_Row], above: int, last: int, limit: int
) -> Iterator[_Row]:
    """Yield `rows` and, in its place, a damaged event for each number without a row.

    Numbers have no gaps: one between two pending events is settled, or its row is gone.
    """
    count, expected = 0, above + 1
    for count, row in enumerate(rows, 1):  # noqa: B007 - used after the loop
        yield from _missing(connection, expected, row.event.position - 1)
        yield row
        expected = row.event.position + 1
    if count < limit:
        yield from _missing(connection, expected, last)


def _missing(connection: sqlite3.Connection, first: int, last: int) -> Iterator[_Row]:
    if first > last:
        return
    settled = {position for (position,) in connection.execute(SETTLED_BETWEEN, (first, last))}
    for position in range(first, last + 1):
        if position not in settled:
            yield _Row(DamagedEvent(position, _MISSING))
