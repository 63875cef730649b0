"""Records captures with their events: decides a whole group, then writes its rows together.

The writer's connection is the only one that writes, and only one thread uses it, so no write can
come between the read and the decision. Captures of a group see each other in order.

New sessions are not looked up first: the unique index on the correlation id rejects a duplicate,
and only then is the group decided again, with each id looked up.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from agent.facts import (
    Capture,
    EmailAnswered,
    IdTaken,
    NoOpenSession,
    Outcome,
    Recorded,
    SessionStarted,
    Timestamp,
)
from agent.store.crypto.bodies import as_it_came, to_keep
from agent.store.crypto.vault import DecryptionError, Vault
from agent.store.db.epochs import Epochs
from agent.store.journal.insert import Intake
from agent.store.journal.session_cache import KnownSession, LastAnswer, Sessions
from sync.protocol.json_equality import same_content
from sync.protocol.wire import EventType


@dataclass(slots=True)
class _Group:
    """State of a group while it is decided: its rows, and the sessions as they will then be.

    `bodies` and `answers` are those not yet in the file, by position.
    """

    last_position: int
    sessions: dict[str, KnownSession]
    values: list[object] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)
    answers: dict[int, LastAnswer] = field(default_factory=dict)


class Journal:
    """Records captures on the writer's connection. Writer's thread only."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        vault: Vault,
        epochs: Epochs,
        boot_number: int,
    ) -> None:
        self._intake = Intake(connection)
        self._sessions = Sessions(connection)
        self._vault = vault
        self._epochs = epochs
        self._boot_number = boot_number

    def record(
        self, captures: Sequence[tuple[Capture, Timestamp]], meanwhile: Callable[[], None]
    ) -> list[Outcome]:
        """Record `captures` in one transaction; they are on disk on return.

        Returns one outcome for each, in order. `meanwhile` is called after the decision, before the
        disk works. Raises `sqlite3.Error`, or the exception of a single bad capture; then nothing
        is written and the numbers do not advance.
        """
        names = {capture.correlation_id for capture, _ in captures}
        known = self._sessions.recent(names)
        answered = {c.correlation_id for c, _ in captures if isinstance(c, EmailAnswered)}
        if unknown := answered - known.keys():
            known |= self._sessions.read(unknown)
        try:
            return self._decide_and_write(captures, known, meanwhile)
        except sqlite3.IntegrityError:
            return self._decide_and_write(captures, self._sessions.read(names), meanwhile)

    def forget(self) -> None:
        """Clear the session cache: the file was changed outside the journal."""
        self._sessions.forget()

    def _decide_and_write(
        self,
        captures: Sequence[tuple[Capture, Timestamp]],
        known: dict[str, KnownSession],
        meanwhile: Callable[[], None],
    ) -> list[Outcome]:
        group = _Group(self._epochs.last_position, known)
        outcomes = [self._decide(group, capture, moment) for capture, moment in captures]
        self._intake.write(group.values, meanwhile)
        # Committed: only now may the numbers and the cache advance.
        self._epochs.advance_to(group.last_position)
        self._sessions.remember(group.sessions)
        return outcomes

    def _decide(self, group: _Group, capture: Capture, moment: Timestamp) -> Outcome:
        match capture:
            case SessionStarted():
                return self._decide_session(group, capture, moment)
            case EmailAnswered():
                return self._decide_answer(group, capture, moment)
            case _:
                assert_never(capture)

    def _decide_session(self, group: _Group, started: SessionStarted, moment: Timestamp) -> Outcome:
        known = group.sessions.get(started.correlation_id)
        if known is not None:
            return self._repeat_of_session(group, known, started)
        position = group.last_position = group.last_position + 1
        body = to_keep(started.body, started.correlation_id, self._vault)
        event = self._event(position, EventType.SESSION_STARTED, position, moment, body)
        closed = int(started.closed)
        group.values += event
        group.values += (started.correlation_id, started.query_locale, closed, None, None, None)
        group.bodies[position] = started.body
        group.sessions[started.correlation_id] = KnownSession(
            position, started.closed, started.query_locale, None
        )
        return Recorded(self._epochs.receipt(position), repeated=False)

    def _repeat_of_session(
        self, group: _Group, known: KnownSession, started: SessionStarted
    ) -> Outcome:
        body = group.bodies.get(known.position) or self._opened(
            self._sessions.body_at(known.position), started.correlation_id
        )
        if known.query_locale != started.query_locale or not same_content(body, started.body):
            return IdTaken()
        return Recorded(self._epochs.receipt(known.position), repeated=True)

    def _decide_answer(self, group: _Group, answered: EmailAnswered, moment: Timestamp) -> Outcome:
        session = group.sessions.get(answered.correlation_id)
        if session is None or session.closed:
            return NoOpenSession()
        mark = None
        if answered.address is not None:
            mark = self._vault.mark(answered.address, answered.correlation_id)
        last = self._last_answer(group, session, answered.correlation_id)
        if last is not None and _repeats(last, answered, mark):
            return Recorded(self._epochs.receipt(last.position), repeated=True)
        position = self._add_answer(group, session, answered, mark, moment)
        return Recorded(self._epochs.receipt(position), repeated=False)

    def _add_answer(
        self,
        group: _Group,
        session: KnownSession,
        answered: EmailAnswered,
        mark: bytes | None,
        moment: Timestamp,
    ) -> int:
        status, body, sealed = answered.status.value, answered.body, None
        if answered.address is not None:
            sealed = self._vault.seal(answered.address, answered.correlation_id)
        position = group.last_position = group.last_position + 1
        kept = to_keep(body, answered.correlation_id, self._vault)
        group.values += self._event(
            position, EventType.EMAIL_ANSWERED, session.position, moment, kept
        )
        group.values += (None, None, None, status, sealed, mark)
        group.answers[position] = LastAnswer(position, status, mark, body)
        group.sessions[answered.correlation_id] = replace(session, last_answer_position=position)
        return position

    def _last_answer(
        self, group: _Group, session: KnownSession, correlation_id: str
    ) -> LastAnswer | None:
        position = session.last_answer_position
        if position is None:
            return None
        if position in group.answers:
            return group.answers[position]
        last = self._sessions.answer_at(position)
        return replace(last, body=self._opened(last.body, correlation_id))

    def _opened(self, kept: bytes, correlation_id: str) -> bytes:
        """Return the original body; b"" (equal to no body) if it was encrypted with another key."""
        try:
            return as_it_came(kept, correlation_id, lambda: self._vault)
        except DecryptionError:
            return b""

    def _event(
        self, position: int, kind: EventType, session_position: int, moment: Timestamp, body: bytes
    ) -> tuple[object, ...]:
        return (
            position,
            kind.value,
            session_position,
            moment.wall_us,
            moment.monotonic_us,
            self._boot_number,
            body,
        )


def _repeats(last: LastAnswer, answered: EmailAnswered, mark: bytes | None) -> bool:
    return (
        last.status == answered.status
        and last.mark == mark
        and same_content(last.body, answered.body)
    )
