"""Reads windows of the outbox: pending events, and dead letters to retry.

One statement for each window, over a range of positions; it never scans the backlog.
"""

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
from agent.store.files.storage_errors import CorruptRow, is_undecodable
from agent.store.outbox.damage import DamageLog, StructureCheck
from agent.store.outbox.payloads import PayloadBuilder
from agent.store.outbox.window_sql import HAS_LOST, LONGEST_WAIT_US, PENDING, SETTLED_BETWEEN
from sync.delivery.outbox import BatchLimits, OutboxEvent, Window
from sync.delivery.outcomes import Refused
from sync.protocol.wire import ErrorCode, EventType

UNREADABLE = "unreadable"

_CHECKED = len(StoredEvent._fields)
_MISSING = "its row is missing"
KEY_LOST = Refused(
    ErrorCode.KEY_LOST,
    "its e-mail address was encrypted with a key that this machine has not any more: put the key"
    " back from its copy, and it is sent again; else discard it",
    None,
)


class _Row(NamedTuple):
    """An event, valid or damaged, and the state of its attempts."""

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
        values |= {"now_us": now_us, "longest_wait_us": LONGEST_WAIT_US}
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
            is_ended = False  # it had more events, which a heartbeat reports
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
    is_doubtful, session_refused, is_waiting, is_overtaken, *letter = values[_CHECKED:]
    flags = bool(is_doubtful), bool(session_refused), bool(is_waiting), bool(is_overtaken)
    if not letter:
        return _Row(event, *flags)
    *refusal, stuck_since_us, attempts = letter
    reason = None if stuck_since_us is not None else _refusal(refusal)
    return _Row(event, *flags, reason, int_or_none(attempts) or 0)


def _refusal(values: Sequence[object]) -> Refused:
    """Return the last refusal of a dead letter; a text that cannot be read does not hold it up."""
    code, message, status = values
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
