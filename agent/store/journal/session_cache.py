"""Session lookup for the journal: an LRU cache over the database."""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from sqlalchemy import bindparam, func, select

from agent.store.db.rows import checked
from agent.store.db.sql import Statement, compiled
from agent.store.db.tables import ANSWER, EVENT, SESSION
from agent.store.files.storage_errors import CorruptRow

Row = TypeVar("Row")
# A customer's answer follows the session within minutes; this is about a till's day.
MAX_CACHED = 4_096

_ids = func.json_each(bindparam("correlation_ids")).table_valued("value")
_last_answer = (
    select(func.max(ANSWER.c.position))
    .where(ANSWER.c.session_position == SESSION.c.position)
    .scalar_subquery()
)
# All rows in one JSON value: a single call into SQLite, see `insert.py`.
SESSIONS_BY_ID = compiled(
    select(
        func.json_group_array(
            func.json_array(
                SESSION.c.correlation_id,
                SESSION.c.position,
                SESSION.c.closed,
                SESSION.c.query_locale,
                _last_answer,
            )
        )
    ).where(SESSION.c.correlation_id.in_(select(_ids.c.value)))
)
BODY_AT = compiled(select(EVENT.c.body).where(EVENT.c.position == bindparam("position")))
ANSWER_AT = compiled(
    select(ANSWER.c.status, ANSWER.c.address_mark, EVENT.c.body).where(
        ANSWER.c.position == bindparam("position"), EVENT.c.position == ANSWER.c.position
    )
)
_found = msgspec.json.Decoder(list[tuple[str, int, int, str | None, int | None]])


@dataclass(frozen=True, slots=True)
class LastAnswer:
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
        ids = msgspec.json.encode(list(correlation_ids)).decode()
        (rows,) = self._connection.execute(SESSIONS_BY_ID.sql, (ids,)).fetchone()
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
        (body,) = self._row_at(BODY_AT, position, tuple[bytes])
        return body

    def answer_at(self, position: int) -> LastAnswer:
        """Return the e-mail answer at `position`."""
        columns = self._row_at(ANSWER_AT, position, tuple[str, bytes | None, bytes])
        return LastAnswer(position, *columns)

    def _row_at(self, statement: Statement, position: int, kind: type[Row]) -> Row:
        """Return the single row.

        Raises `CorruptRow` if there is none: a damaged page can lose a row without an error.
        """
        row = self._connection.execute(statement.sql, (position,)).fetchone()
        if row is None:
            raise CorruptRow(f"the event at position {position} is missing")
        return checked(row, kind)
