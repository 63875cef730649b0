"""Session lookup for the journal: an LRU cache over the database."""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from agent.store.db.event_rows import StoredEvent, check_event, is_position
from agent.store.db.rows import as_list, checked
from agent.store.files.storage_errors import CorruptRow

# A customer's answer follows the session within minutes; this is about a till's day.
MAX_CACHED = 4_096

# All rows in one JSON value: a single call into SQLite, see `insert.py`.
SESSIONS_BY_ID = """
SELECT json_group_array(json_array(
    correlation_id, position, closed, query_locale,
    (SELECT max(position) FROM email_answer WHERE session_position = session.position)
))
FROM session WHERE correlation_id IN (SELECT value FROM json_each(?))
"""
SESSION_BY_ID = """
SELECT position, closed, query_locale,
    (SELECT max(position) FROM email_answer WHERE session_position = session.position)
FROM session WHERE correlation_id = ?
"""
SESSION_EVENT_AT = """
SELECT event.position, type, session_position, correlation_id, occurred_at_us, monotonic_us,
    boot_number, '', body, query_locale, NULL, NULL, checksum
FROM event JOIN session USING (position) WHERE event.position = ?
"""
OCCURRED_AT = "SELECT occurred_at_us FROM event WHERE position = ?"
BODY_AT = "SELECT body FROM event WHERE position = ?"
ANSWER_AT = """
SELECT position, status, address_mark, body
FROM email_answer JOIN event USING (position) WHERE position = ?
"""
_found = msgspec.json.Decoder(list[tuple[str, int, int, str | None, int | None]])


class LastAnswer(NamedTuple):
    """The last e-mail answer of a session; `digest` is that of its address."""

    position: int
    status: str
    digest: bytes | None
    body: bytes


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session and the position of its last e-mail answer, if any."""

    position: int
    closed: bool
    query_locale: str | None
    last_answer_position: int | None


class SessionCache:
    """Looks up sessions. Only committed sessions may be cached."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._recent: OrderedDict[str, KnownSession] = OrderedDict()

    def cached(self, correlation_ids: Iterable[str]) -> dict[str, KnownSession]:
        """Return those of the sessions that are cached."""
        recent = self._recent
        return {name: recent[name] for name in correlation_ids if name in recent}

    def read(self, correlation_ids: Iterable[str]) -> dict[str, KnownSession]:
        """Return those of the sessions that are in the file."""
        ids = list(correlation_ids)
        try:
            (rows,) = self._connection.execute(SESSIONS_BY_ID, (as_list(ids),)).fetchone()
            found = _found.decode(rows)
        except (msgspec.MsgspecError, UnicodeDecodeError, sqlite3.OperationalError):
            return self._read_one_by_one(ids)
        return {
            name: KnownSession(position, bool(closed), locale, last_answer)
            for name, position, closed, locale, last_answer in found
        }

    def _read_one_by_one(self, correlation_ids: Sequence[str]) -> dict[str, KnownSession]:
        """Read each session by itself: a damaged one does not stop the till that asks for another.

        An unreadable column counts as unset: the session takes e-mail answers.
        """
        sessions = {}
        for name in correlation_ids:
            row = self._connection.execute(SESSION_BY_ID, (name,)).fetchone()
            if row is None:
                continue
            position, closed, locale, last_answer = row
            known_locale = locale if isinstance(locale, str) else None
            known_answer = last_answer if is_position(last_answer) else None
            sessions[name] = KnownSession(position, closed == 1, known_locale, known_answer)
        return sessions

    def put(self, sessions: Mapping[str, KnownSession]) -> None:
        """Cache these sessions; evict the least recently used."""
        for name, session in sessions.items():
            self._recent[name] = session
            self._recent.move_to_end(name)
        while len(self._recent) > MAX_CACHED:
            self._recent.popitem(last=False)

    def clear(self) -> None:
        """Clear the cache: the file was changed outside the journal."""
        self._recent.clear()

    def body_at(self, position: int) -> bytes | None:
        """Return the body of the event at `position`; None if it is damaged."""
        row = self._connection.execute(BODY_AT, (position,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def occurred_at_us(self, position: int) -> int | None:
        """Return when the event at `position` was captured; None if it is damaged."""
        row = self._connection.execute(OCCURRED_AT, (position,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], int) else None

    def is_intact(self, position: int) -> bool:
        """Return whether the session start at `position` can be believed."""
        row = self._connection.execute(SESSION_EVENT_AT, (position,)).fetchone()
        return row is not None and isinstance(check_event(row), StoredEvent)

    def answer_at(self, position: int) -> LastAnswer | None:
        """Return the e-mail answer at `position`; None if it is damaged."""
        row = self._connection.execute(ANSWER_AT, (position,)).fetchone()
        try:
            return checked(row, LastAnswer)
        except CorruptRow:
            return None
