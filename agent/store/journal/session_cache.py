"""Session lookup for the journal: an LRU cache over the database."""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

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
        ids = as_list(correlation_ids)
        (rows,) = self._connection.execute(SESSIONS_BY_ID, (ids,)).fetchone()
        try:
            found = _found.decode(rows)
        except msgspec.MsgspecError:
            raise CorruptRow("unexpected value in a session") from None
        return {
            name: KnownSession(position, bool(closed), locale, last_answer)
            for name, position, closed, locale, last_answer in found
        }

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

    def body_at(self, position: int) -> bytes:
        """Return the body of the event at `position`."""
        row = self._connection.execute(BODY_AT, (position,)).fetchone()
        return checked(row and row[0], bytes)

    def answer_at(self, position: int) -> LastAnswer:
        """Return the e-mail answer at `position`."""
        return checked(self._connection.execute(ANSWER_AT, (position,)).fetchone(), LastAnswer)
