"""Keeps captures with their events: the rows of a group, inside the writer's transaction.

What decides over a repeated or refused capture is read in the same transaction in which it
would be written, and the writer's connection is the only one that writes: nothing can come
between the look and the deed. Captures of one group see each other in their order.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec
from sqlalchemy import bindparam, func, insert, select

from agent.store.facts import (
    Capture,
    EmailAnswered,
    IdTaken,
    Moment,
    NoOpenSession,
    Outcome,
    Recorded,
    SessionStarted,
)
from agent.store.numbering import Numbering
from agent.store.sameness import same_content
from agent.store.statements import Insert, Statement, compiled
from agent.store.tables import EmailAnswer, Event, Session, table_of
from agent.store.troubles import SenselessRow
from agent.store.vault import Vault
from sync.wire import EventType

_event = table_of(Event)
_session = table_of(Session)
_answer = table_of(EmailAnswer)
_ids = func.json_each(bindparam("correlation_ids")).table_valued("value")
_last_answer = (
    select(func.max(_answer.c.position))
    .where(_answer.c.session_position == _session.c.position)
    .scalar_subquery()
)

ADD_EVENTS = Insert(compiled(insert(_event)))
ADD_SESSIONS = Insert(compiled(insert(_session)))
ADD_ANSWERS = Insert(compiled(insert(_answer)))
# All rows in one, as JSON: one call of SQLite for a group, see `Insert`.
SESSIONS_BY_ID = compiled(
    select(
        func.json_group_array(
            func.json_array(
                _session.c.correlation_id,
                _session.c.position,
                _session.c.closed,
                _session.c.query_locale,
                _last_answer,
            )
        )
    ).where(_session.c.correlation_id.in_(select(_ids.c.value)))
)
BODY_AT = compiled(select(_event.c.body).where(_event.c.position == bindparam("position")))
ANSWER_AT = compiled(
    select(_answer.c.status, _answer.c.address_mark, _event.c.body).where(
        _answer.c.position == bindparam("position"), _event.c.position == _answer.c.position
    )
)


_found = msgspec.json.Decoder(list[tuple[str, int, int, str | None, int | None]])


@dataclass(slots=True)
class _Answer:
    position: int
    status: str
    mark: bytes | None
    body: bytes


@dataclass(slots=True)
class _Session:
    """A session as it stands after the captures before; what is None is still on the disk."""

    position: int
    closed: bool
    query_locale: str | None
    body: bytes | None
    last_answer_position: int | None = None
    last_answer: _Answer | None = None


@dataclass(slots=True)
class _Group:
    """The values of the rows that one group adds, and the sessions it has looked at."""

    last_position: int
    sessions: dict[str, _Session]
    event_values: list[object] = field(default_factory=list)
    session_values: list[object] = field(default_factory=list)
    answer_values: list[object] = field(default_factory=list)


class Journal:
    """Decides over captures and writes them, on the writer's connection and in its thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        vault: Vault,
        numbering: Numbering,
        boot_number: int,
    ) -> None:
        self._connection = connection
        self._vault = vault
        self._numbering = numbering
        self._boot_number = boot_number

    def record(self, captures: Sequence[tuple[Capture, Moment]]) -> tuple[list[Outcome], int]:
        """Write the rows of `captures` in the open transaction, without committing it.

        Returns an outcome for each, in their order, and the last position used: the
        numbering is to advance there once the transaction is committed, and not before.
        """
        group = _Group(self._numbering.last_position, self._look_up(captures))
        outcomes = [self._decide(group, capture, moment) for capture, moment in captures]
        self._write(group)
        return outcomes, group.last_position

    def _look_up(self, captures: Iterable[tuple[Capture, Moment]]) -> dict[str, _Session]:
        ids = msgspec.json.encode([capture.correlation_id for capture, _ in captures])
        (rows,) = self._connection.execute(SESSIONS_BY_ID.sql, (ids.decode(),)).fetchone()
        return {
            correlation_id: _Session(position, bool(closed), locale, None, last_answer)
            for correlation_id, position, closed, locale, last_answer in _found.decode(rows)
        }

    def _decide(self, group: _Group, capture: Capture, moment: Moment) -> Outcome:
        match capture:
            case SessionStarted():
                return self._decide_session(group, capture, moment)
            case EmailAnswered():
                return self._decide_answer(group, capture, moment)
            case _:
                assert_never(capture)

    def _decide_session(self, group: _Group, started: SessionStarted, moment: Moment) -> Outcome:
        known = group.sessions.get(started.correlation_id)
        if known is not None:
            return self._repeat_of_session(known, started)
        position = self._add_event(group, EventType.SESSION_STARTED, None, moment, started.body)
        row = (position, started.correlation_id, started.query_locale, int(started.closed))
        group.session_values.extend(row)
        group.sessions[started.correlation_id] = _Session(
            position, started.closed, started.query_locale, started.body
        )
        return Recorded(self._numbering.receipt(position), repeated=False)

    def _repeat_of_session(self, known: _Session, started: SessionStarted) -> Outcome:
        if known.body is None:
            (known.body,) = self._row_at(BODY_AT, known.position)
        if known.query_locale != started.query_locale or not same_content(known.body, started.body):
            return IdTaken()
        return Recorded(self._numbering.receipt(known.position), repeated=True)

    def _decide_answer(self, group: _Group, answered: EmailAnswered, moment: Moment) -> Outcome:
        session = group.sessions.get(answered.correlation_id)
        if session is None or session.closed:
            return NoOpenSession()
        mark = None
        if answered.address is not None:
            mark = self._vault.mark(answered.address, answered.correlation_id)
        last = self._last_answer(session)
        if last is not None and _repeats(last, answered, mark):
            return Recorded(self._numbering.receipt(last.position), repeated=True)
        return self._add_answer(group, session, answered, mark, moment)

    def _add_answer(
        self,
        group: _Group,
        session: _Session,
        answered: EmailAnswered,
        mark: bytes | None,
        moment: Moment,
    ) -> Outcome:
        sealed = None
        if answered.address is not None:
            sealed = self._vault.seal(answered.address, answered.correlation_id)
        position = self._add_event(
            group, EventType.EMAIL_ANSWERED, session.position, moment, answered.body
        )
        group.answer_values.extend(
            (position, session.position, answered.status.value, sealed, mark)
        )
        session.last_answer = _Answer(position, answered.status, mark, answered.body)
        return Recorded(self._numbering.receipt(position), repeated=False)

    def _last_answer(self, session: _Session) -> _Answer | None:
        if session.last_answer is None and session.last_answer_position is not None:
            position = session.last_answer_position
            session.last_answer = _Answer(position, *self._row_at(ANSWER_AT, position))
        return session.last_answer

    def _row_at(self, statement: Statement, position: int) -> tuple[Any, ...]:
        """Return the one row, whose last column is a body.

        Raises `SenselessRow` where there is none: a damaged page can lose a row in silence.
        """
        row = self._connection.execute(statement.sql, (position,)).fetchone()
        if row is None or row[-1] is None:
            raise SenselessRow(f"the event at position {position} is not there any more")
        return tuple(row)

    def _add_event(
        self,
        group: _Group,
        kind: EventType,
        session_position: int | None,
        moment: Moment,
        body: bytes,
    ) -> int:
        position = group.last_position = group.last_position + 1
        group.event_values.extend(
            (
                position,
                kind.value,
                position if session_position is None else session_position,
                moment.wall_us,
                moment.monotonic_us,
                self._boot_number,
                body,
            )
        )
        return position

    def _write(self, group: _Group) -> None:
        ADD_EVENTS.run(self._connection, group.event_values)
        ADD_SESSIONS.run(self._connection, group.session_values)
        ADD_ANSWERS.run(self._connection, group.answer_values)


def _repeats(last: _Answer, answered: EmailAnswered, mark: bytes | None) -> bool:
    return (
        last.status == answered.status
        and last.mark == mark
        and same_content(last.body, answered.body)
    )
