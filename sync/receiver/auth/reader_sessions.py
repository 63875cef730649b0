"""Sessions of signed-in readers, in the database: every receiver on it knows them.

The cookie is a random secret, so nothing in it leads to the token. The row's key is its HMAC with
the token: a copy of the database yields no valid cookie, and a new token ends every session of the
old one.
"""

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy import Text as SqlText
from sqlmodel import Session

from sync.receiver.audit.audit_log import Action, AuditLog
from sync.receiver.db.database import Database
from sync.receiver.db.tables import ReaderSessionRecord, reader_sessions

LIFETIME = timedelta(hours=12)
# Between two receivers on one database.
_CLOCKS_APART = timedelta(minutes=5)
# Sessions belong to head office itself, not to a store.
_HEAD_OFFICE = ""
_THIS_ONE = (
    reader_sessions.c.store_id == _HEAD_OFFICE,
    reader_sessions.c.session_hash == bindparam("hash", type_=SqlText),
)
_SELECT = select(reader_sessions.c.expires_at).where(*_THIS_ONE)
_DELETE = delete(reader_sessions).where(*_THIS_ONE)


class ReaderSessions:
    """Starts, checks and ends the sessions of one token: `token` returns it as it now is."""

    def __init__(
        self, database: Database, token: Callable[[], str], new_secret: Callable[[], str]
    ) -> None:
        self._database = database
        self._token = token
        self._new_secret = new_secret

    async def start(self, at: datetime, audit: AuditLog, method: str) -> str:
        """Start a session, recorded as a sign-in by `method`; return the cookie's value."""
        secret = self._new_secret()
        await self._database.write(
            lambda connection: _start(connection, self._hash(secret), at, audit, method)
        )
        return secret

    async def is_valid(self, cookie: str, at: datetime) -> bool:
        """Return whether the cookie is that of a session that has neither ended nor expired."""
        if not cookie:
            return False
        row = await self._database.read_first(_SELECT, {"hash": self._hash(cookie)})
        # One that ends later began in the future: the clock was ahead then, and is right now.
        return row is not None and at < row["expires_at"] <= at + LIFETIME + _CLOCKS_APART

    async def end(self, cookie: str, at: datetime, audit: AuditLog) -> None:
        """End the session, recorded as a sign-out. Idempotent."""
        if await self.is_valid(cookie, at):
            key = {"hash": self._hash(cookie)}
            await self._database.write(lambda connection: _end(connection, key, audit))

    def _hash(self, cookie: str) -> str:
        secret = cookie.encode("utf-8", "surrogateescape")
        return hmac.digest(self._token().encode(), secret, "sha256").hex()


def _start(
    connection: Connection, session_hash: str, at: datetime, audit: AuditLog, method: str
) -> None:
    expired = delete(reader_sessions).where(
        reader_sessions.c.store_id == _HEAD_OFFICE, reader_sessions.c.expires_at <= at
    )
    connection.execute(expired)
    with Session(connection) as session:
        session.add(
            ReaderSessionRecord(
                store_id=_HEAD_OFFICE, session_hash=session_hash, expires_at=at + LIFETIME
            )
        )
        session.flush()
    audit.record(connection, Action.SIGN_IN, method=method)


def _end(connection: Connection, key: dict[str, str], audit: AuditLog) -> None:
    if connection.execute(_DELETE, key).rowcount:
        audit.record(connection, Action.SIGN_OUT)
