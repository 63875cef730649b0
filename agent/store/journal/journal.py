"""Records captures with their events: `decide` reads and applies the rules, `write` commits.

The writer's connection is the only one that writes, and only one thread uses it, so no write
can come between the decision and its write. Captures of a group see each other in order.

New sessions are not looked up first: the unique index on the correlation id rejects a
duplicate, and only then is the group decided again, with each id looked up.
"""

import sqlite3
from collections.abc import Sequence
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
from agent.store.crypto.bodies import decrypt_body, encrypt_body
from agent.store.crypto.vault import DecryptionError, Vault
from agent.store.db.epochs import Epochs
from agent.store.db.event_rows import event_checksum
from agent.store.db.receipt_aliases import ReceiptAliases
from agent.store.journal.conflict import other_members
from agent.store.journal.insert import GroupInserter
from agent.store.journal.session_cache import KnownSession, LastAnswer, SessionCache
from sync.protocol.json_equality import json_equal
from sync.protocol.wire import EventType


@dataclass(slots=True)
class Group:
    """Decided captures, not written yet: outcomes, rows, and the sessions after the write.

    `bodies` and `answers` are those not yet in the file, by position.
    """

    captures: Sequence[tuple[Capture, Timestamp]]
    last_position: int
    sessions: dict[str, KnownSession]
    outcomes: list[Outcome] = field(default_factory=list)
    values: list[object] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)
    answers: dict[int, LastAnswer] = field(default_factory=dict)

    def replace_by(self, other: "Group") -> None:
        """Take over another decision about the same captures."""
        self.sessions, self.outcomes, self.values = other.sessions, other.outcomes, other.values
        self.last_position = other.last_position
        self.bodies, self.answers = other.bodies, other.answers


class Journal:
    """Records captures on the writer's connection. Writer's thread only."""

    def __init__(
        self, connection: sqlite3.Connection, vault: Vault, epochs: Epochs, boot_number: int
    ) -> None:
        self._inserter = GroupInserter(connection)
        self._sessions = SessionCache(connection)
        self._aliases = ReceiptAliases(connection)
        self._vault = vault
        self._epochs = epochs
        self._boot_number = boot_number

    def decide(self, captures: Sequence[tuple[Capture, Timestamp]]) -> Group:
        """Decide a group, outcomes in the order of the captures; write nothing.

        Raises `sqlite3.Error`, or the exception of a single bad capture.
        """
        ids = {capture.correlation_id for capture, _ in captures}
        known = self._sessions.cached(ids)
        answered = {c.correlation_id for c, _ in captures if isinstance(c, EmailAnswered)}
        if unknown := answered - known.keys():
            known |= self._sessions.read(unknown)
        return self._decide(captures, known)

    def write(self, group: Group) -> list[Outcome]:
        """Write a group in one transaction; it is on disk on return. Return its outcomes.

        If this raises, the numbers do not advance. Usually nothing is written, but a commit whose
        sync fails may be found in the WAL at the next opening: see `holds`.
        """
        try:
            self._inserter.insert(group.values)
        except sqlite3.IntegrityError:
            ids = {capture.correlation_id for capture, _ in group.captures}
            group.replace_by(self._decide(group.captures, self._sessions.read(ids)))
            self._inserter.insert(group.values)
        # Committed: only now may the numbers and the cache advance.
        self._epochs.last_position = group.last_position
        self._sessions.put(group.sessions)
        return group.outcomes

    def holds(self, group: Group) -> bool:
        """Return whether the rows of `group` are in the file; False if it has none.

        Deciding the group again would not do: an answer is recognised as a repeat only if it is the
        last one of its session.
        """
        return bool(group.values) and self._inserter.has_inserted(group.values)

    def clear_cache(self) -> None:
        """Clear the caches, for a job that deletes or adds captures."""
        self._sessions.clear()
        self._aliases.refresh()

    def adopt_vault(self, vault: Vault) -> None:
        """Encrypt with the key of `vault` from now on."""
        self._vault = vault

    def _decide(
        self, captures: Sequence[tuple[Capture, Timestamp]], known: dict[str, KnownSession]
    ) -> Group:
        group = Group(captures, self._epochs.last_position, known)
        for capture, at in captures:
            match capture:
                case SessionStarted():
                    outcome = self._decide_session(group, capture, at)
                case EmailAnswered():
                    outcome = self._decide_answer(group, capture, at)
                case _:
                    assert_never(capture)
            group.outcomes.append(outcome)
        return group

    def _decide_session(self, group: Group, started: SessionStarted, at: Timestamp) -> Outcome:
        known = group.sessions.get(started.correlation_id)
        if known is not None:
            return self._repeat_of_session(group, known, started)
        position = group.last_position = group.last_position + 1
        body = encrypt_body(started.body, started.correlation_id, self._vault)
        name, locale = started.correlation_id, started.query_locale
        group.values += self._event(
            (position, position), EventType.SESSION_STARTED, at, body, name, locale
        )
        closed = int(started.closed)
        group.values += (name, locale, closed, None, None, None)
        group.bodies[position] = started.body
        group.sessions[started.correlation_id] = KnownSession(
            position, started.closed, started.query_locale, None
        )
        return Recorded(self._epochs.receipt(position), repeated=False)

    def _repeat_of_session(
        self, group: Group, known: KnownSession, started: SessionStarted
    ) -> Outcome:
        body = group.bodies.get(known.position)
        if body is None:
            stored = self._sessions.body_at(known.position)
            body = b"" if stored is None else self._original_body(stored, started.correlation_id)
        is_same = known.query_locale == started.query_locale and json_equal(body, started.body)
        # A damaged session was acknowledged under this number, and is reported as damaged: a
        # conflict would be of no use to the till.
        is_new = known.position in group.bodies
        if not is_same and (is_new or self._sessions.is_intact(known.position)):
            used_at_us = None if is_new else self._sessions.occurred_at_us(known.position)
            return IdTaken(used_at_us, other_members(body, known.query_locale, started))
        return Recorded(self._aliases.receipt(known.position, self._epochs), repeated=True)

    def _decide_answer(self, group: Group, answered: EmailAnswered, at: Timestamp) -> Outcome:
        session = group.sessions.get(answered.correlation_id)
        if session is None or session.closed:
            return NoOpenSession(is_closed=session is not None)
        digest = None
        if answered.address is not None:
            digest = self._vault.digest(answered.address, answered.correlation_id)
        last = self._last_answer(group, session, answered.correlation_id)
        if last is not None and self._repeats(last, answered):
            return Recorded(self._aliases.receipt(last.position, self._epochs), repeated=True)
        position = self._add_answer(group, session, answered, digest, at)
        return Recorded(self._epochs.receipt(position), repeated=False)

    def _repeats(self, last: LastAnswer, answered: EmailAnswered) -> bool:
        if answered.address is None:
            is_same_address = last.digest is None
        else:
            is_same_address = self._vault.recognises(
                last.digest, answered.address, answered.correlation_id
            )
        return (
            last.status == answered.status
            and is_same_address
            and json_equal(last.body, answered.body)
        )

    def _add_answer(
        self,
        group: Group,
        session: KnownSession,
        answered: EmailAnswered,
        digest: bytes | None,
        at: Timestamp,
    ) -> int:
        status, body, encrypted = answered.status.value, answered.body, None
        if answered.address is not None:
            encrypted = self._vault.encrypt(answered.address, answered.correlation_id)
        position = group.last_position = group.last_position + 1
        stored = encrypt_body(body, answered.correlation_id, self._vault)
        group.values += self._event(
            (position, session.position),
            EventType.EMAIL_ANSWERED,
            at,
            stored,
            answered.correlation_id,
            status,
        )
        group.values += (None, None, None, status, encrypted, digest)
        group.answers[position] = LastAnswer(position, status, digest, body)
        group.sessions[answered.correlation_id] = replace(session, last_answer_position=position)
        return position

    def _last_answer(
        self, group: Group, session: KnownSession, correlation_id: str
    ) -> LastAnswer | None:
        position = session.last_answer_position
        if position is None:
            return None
        if position in group.answers:
            return group.answers[position]
        last = self._sessions.answer_at(position)
        if last is None:
            # Damaged: an answer that may be its repeat is recorded again.
            return None
        return last._replace(body=self._original_body(last.body, correlation_id))

    def _original_body(self, stored: bytes, correlation_id: str) -> bytes:
        """Return the original body; b"" (equal to no body) if it was encrypted with another key."""
        try:
            return decrypt_body(stored, correlation_id, lambda: self._vault)
        except DecryptionError:
            return b""

    def _event(
        self,
        positions: tuple[int, int],
        kind: EventType,
        at: Timestamp,
        body: bytes,
        correlation_id: str,
        detail: str | None,
    ) -> tuple[object, ...]:
        """Return the columns of an event; `positions` are its own and its session's."""
        (position, session), boot = positions, self._boot_number
        times = at.wall_us, at.monotonic_us
        numbers = position, session, *times, boot
        checksum = event_checksum(numbers, kind.value, correlation_id, detail, body)
        return (position, kind.value, session, *times, boot, body, checksum)
