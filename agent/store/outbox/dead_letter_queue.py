"""Dead letters: events that central rejected for good, to be listed, retried or discarded."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, update

from agent.facts import Receipt
from agent.store.access import StoreAccess
from agent.store.db import tables
from agent.store.db.cursor import is_central
from agent.store.db.epochs import Epochs, read_epochs
from agent.store.db.sql import compiled, constant
from agent.store.db.tables import Event, Session, table_of
from agent.store.outbox.dead_letter_rows import erase_at, find_delivered, take_back, want_answers
from sync.protocol.wire import EventType

AGAIN_AFTER_US = 24 * 3600 * 1_000_000
MOST_AT_ONCE = 500
_dead = table_of(tables.DeadLetter)
_event = table_of(Event)
_session = table_of(Session)
_of_central = _dead.c.destination == is_central
_is_open = and_(_of_central, _dead.c.discarded_at_us.is_(None))
_this_one = and_(_is_open, _dead.c.position == bindparam("at"))
_shown = (
    select(
        _dead.c.position,
        _event.c.type,
        _session.c.correlation_id,
        _dead.c.error_code,
        _dead.c.error_message,
        _dead.c.http_status,
        _dead.c.refused_at_us,
        _dead.c.attempts,
        _dead.c.retry_wanted,
        _dead.c.discarded_at_us,
    )
    .join(_event, _event.c.position == _dead.c.position)
    .join(_session, _session.c.position == _event.c.session_position)
)

DEAD_LETTERS = compiled(
    _shown.where(_is_open, _dead.c.position > bindparam("after"))
    .order_by(_dead.c.position)
    .limit(bindparam("most"))
    .offset(constant(0))
)
DEAD_LETTER_AT = compiled(_shown.where(_of_central, _dead.c.position == bindparam("at")))
WANT_RETRY = compiled(update(_dead).where(_this_one).values(retry_wanted=constant(1)))
DISCARD = compiled(
    update(_dead)
    .where(_this_one)
    .values(discarded_at_us=bindparam("now_us"), retry_wanted=constant(0))
)
_due = (
    select(_dead.c.position)
    .where(
        _is_open,
        _dead.c.retry_wanted == constant(0),
        or_(
            _dead.c.agent_version != bindparam("agent_version"),
            _dead.c.refused_at_us <= bindparam("day_before_us"),
            # The clock was set back since.
            _dead.c.refused_at_us > bindparam("now_us"),
        ),
    )
    .limit(constant(MOST_AT_ONCE))
    .offset(constant(0))
)
WANT_DUE = compiled(
    update(_dead).where(_of_central, _dead.c.position.in_(_due)).values(retry_wanted=constant(1))
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected event and the reason. Times in microseconds since 1970 UTC."""

    receipt: Receipt
    type: EventType
    correlation_id: str
    error_code: str
    error_message: str
    http_status: int | None
    refused_at_us: int
    attempts: int
    retry_wanted: bool
    discarded_at_us: int | None


class DeadLetters:
    """The dead letters of this machine. Every method raises `OutboxUnavailable`."""

    def __init__(self, storage: StoreAccess, now_us: Callable[[], int], agent_version: str) -> None:
        self._storage = storage
        self._now_us = now_us
        self._agent_version = agent_version

    async def page(self, limit: int, after: Receipt | None = None) -> list[DeadLetter]:
        """Return up to `limit` dead letters not discarded, in ascending order, above `after`."""
        return await self._storage.ask(lambda connection: _page(connection, limit, after))

    async def find(self, epoch: str, sequence: int) -> DeadLetter | None:
        """Return the dead letter with this receipt, even a discarded one."""
        return await self._storage.ask(lambda connection: _find(connection, epoch, sequence))

    async def retry(self, epoch: str, sequence: int) -> bool:
        """Mark a dead letter, and the answers rejected with it, for retry in the next pass.

        Returns False if there is no such dead letter, or it is discarded.
        """
        return await self._storage.change(lambda connection: _retry(connection, epoch, sequence))

    async def discard(self, epoch: str, sequence: int) -> bool:
        """Discard a dead letter for good and erase its address; return False if there is none."""
        now_us = self._now_us()
        return await self._storage.change(
            lambda connection: _discard(connection, epoch, sequence, now_us)
        )

    async def take_back(self, epoch: str, sequences: Sequence[int]) -> int:
        """Retry delivered events that central reports as rejected, after it fell back.

        They become dead letters until then. Returns how many; an event that is pending, a dead
        letter or purged is left unchanged.
        """

        def find(connection: sqlite3.Connection) -> list[int]:
            epochs = read_epochs(connection)
            named = (epochs.position_of(epoch, sequence) for sequence in sequences)
            return find_delivered(connection, [at for at in named if at is not None])

        # Central reports our own dead letters, too, at every heartbeat; mostly there are no
        # others.
        if not await self._storage.ask(find):
            return 0
        now_us, version = self._now_us(), self._agent_version
        return await self._storage.change(lambda c: take_back(c, find(c), now_us, version))

    async def retry_due(self) -> int:
        """Mark for retry each event rejected from another version, or a day ago from this one.

        Returns how many.
        """
        now_us, count, some = self._now_us(), 0, MOST_AT_ONCE
        while some == MOST_AT_ONCE:
            some = await self._storage.change(
                lambda connection: _want_due(connection, self._agent_version, now_us)
            )
            count += some
        return count


def _page(connection: sqlite3.Connection, limit: int, after: Receipt | None) -> list[DeadLetter]:
    epochs = read_epochs(connection)
    above = epochs.position_of(after.epoch, after.sequence) if after else None
    values = {"after": above or 0, "most": limit}
    rows = connection.execute(DEAD_LETTERS.sql, DEAD_LETTERS.row(values))
    return [_dead_letter(epochs, row) for row in rows]


def _find(connection: sqlite3.Connection, epoch: str, sequence: int) -> DeadLetter | None:
    epochs = read_epochs(connection)
    position = epochs.position_of(epoch, sequence)
    row = connection.execute(DEAD_LETTER_AT.sql, (position,)).fetchone()
    return None if row is None else _dead_letter(epochs, row)


def _dead_letter(epochs: Epochs, row: tuple[Any, ...]) -> DeadLetter:
    position, kind, name, code, message, http_status, refused_at_us, attempts, *decided = row
    retry_wanted, discarded_at_us = decided
    return DeadLetter(
        receipt=epochs.receipt(position),
        type=EventType(kind),
        correlation_id=name,
        error_code=code,
        error_message=message,
        http_status=http_status,
        refused_at_us=refused_at_us,
        attempts=attempts,
        retry_wanted=bool(retry_wanted),
        discarded_at_us=discarded_at_us,
    )


def _retry(connection: sqlite3.Connection, epoch: str, sequence: int) -> bool:
    position = read_epochs(connection).position_of(epoch, sequence)
    found = connection.execute(WANT_RETRY.sql, (position,)).rowcount > 0
    if found and position is not None:
        want_answers(connection, [position])
    return found


def _discard(connection: sqlite3.Connection, epoch: str, sequence: int, now_us: int) -> bool:
    position = read_epochs(connection).position_of(epoch, sequence)
    values = {"at": position, "now_us": now_us}
    found = connection.execute(DISCARD.sql, DISCARD.row(values)).rowcount > 0
    if found and position is not None:
        erase_at(connection, [position])
    return found


def _want_due(connection: sqlite3.Connection, agent_version: str, now_us: int) -> int:
    values = {
        "agent_version": agent_version,
        "day_before_us": now_us - AGAIN_AFTER_US,
        "now_us": now_us,
    }
    return connection.execute(WANT_DUE.sql, WANT_DUE.row(values)).rowcount
