"""A connection to PostgreSQL: to a server, or through a pooler.

A pooler in transaction mode (PgBouncer) gives each transaction any of its server connections. A
setting of the session would reach other clients and not this one, so it is sent with each BEGIN. A
prepared statement is found again only if the pooler tracks it (PgBouncer 1.21 and later, with
max_prepared_statements); otherwise statements have no name and are parsed each time.
"""

import contextlib
import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import asyncpg

from sync.receiver.db.database import DatabaseUnavailableError

# PostgreSQL's own process id is the one that it told at the start; a pooler tells another.
_LOOK = """
SELECT pg_backend_pid() AS pid, pg_is_in_recovery() AS is_standby,
    current_setting('default_transaction_read_only') = 'on' AS is_read_only,
    pg_postmaster_start_time() AS server
"""
# A failover copies the one and increases the other; nodes of a cluster differ in the first.
_LINE = """
SELECT system_identifier AS cluster, left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline
FROM pg_control_system()
"""
_PREPARED = "SELECT count(*) AS found FROM pg_prepared_statements WHERE name = $1"

POOLER_ADVICE = (
    "PgBouncer before 1.21, or with max_prepared_statements = 0, cannot: each statement is parsed"
    " anew; upgrade it, or set max_prepared_statements = 200"
)


class Pooling(Enum):
    """Kind of connection between a receiver and its database."""

    DIRECT = "no pooler"
    FOLLOWED = "a pooler that follows prepared statements"
    NOT_FOLLOWED = "a pooler that does not follow prepared statements"


class ServerConnection(asyncpg.Connection):  # type: ignore[misc] # the driver has no types
    """A connection of the driver that knows its server. `place`: host and port as configured."""

    place = ""
    pooling = Pooling.DIRECT
    # Its start, which identifies a server in its cluster: it can have several addresses, and two
    # servers one address, one after the other.
    server: datetime | None = None
    _cluster: int | None = None
    _timeline = ""
    _not_replicated = ""
    is_standby = is_read_only = False
    made_at = 0.0
    _of_transaction = ""

    async def look(self, place: str, settings: Mapping[str, str]) -> None:
        """Identify the server or pooler, and apply the settings."""
        self.place, self.made_at = place, time.monotonic()
        # One transaction: behind a pooler, two statements else reach two servers.
        async with self.transaction():
            statement = await self.prepare(_LOOK, name="")
            found = await statement.fetchrow()
            assert found is not None, "a select of one row"  # noqa: S101 - for the types
            self.server = found["server"]
            self.is_standby, self.is_read_only = found["is_standby"], found["is_read_only"]
            if found["pid"] != self.get_server_pid():
                self.pooling = await self._follows()
            if not self.is_standby:
                await self._look_for_line()
        self.add_log_listener(ServerConnection._note_warning)
        if self.pooling is not Pooling.DIRECT:
            self._of_transaction = _assignments("SET LOCAL", settings)
        elif settings:
            await self.execute(_assignments("SET", settings))

    async def execute(self, query: str, *args: object, **options: Any) -> str:  # noqa: ANN401 - the driver's
        """Execute a query; begin a transaction with its settings, in the same round trip."""
        if self._of_transaction and query.startswith("BEGIN"):
            query += self._of_transaction
        self._not_replicated = ""
        try:
            status: str = await super().execute(query, *args, **options)
        except TimeoutError:
            if not query.startswith("COMMIT"):
                raise
            words = f"PostgreSQL: {self.place}: COMMIT had no answer in time"
            raise DatabaseUnavailableError(words, "08007") from None
        if query.startswith("COMMIT"):
            self._check_commit(status)
        return status

    def _check_commit(self, status: str) -> None:
        """Raise `DatabaseUnavailableError` for a COMMIT that was answered, but not done."""
        fault, state = self._not_replicated, "01000"
        if status != "COMMIT":
            fault, state = f"COMMIT was answered with {status}", "40000"
        if fault:
            raise DatabaseUnavailableError(f"PostgreSQL: {self.place}: {fault}", state)

    def is_superseded_by(self, other: "ServerConnection") -> bool:
        """Return whether the other's server took the place of this one's: by a failover.

        Only one server of a cluster can be written. Behind a balancer another one answers as well,
        which is no reason to leave this one.
        """
        is_one_cluster = self._cluster is not None and self._cluster == other._cluster  # noqa: SLF001 - its own
        is_later = self._timeline <= other._timeline  # noqa: SLF001 - its own
        return is_one_cluster and is_later and self.server != other.server

    async def _look_for_line(self) -> None:
        """Find out by which a failover is known; without the right to, none is seen by this."""
        with contextlib.suppress(asyncpg.PostgresError):
            async with self.transaction():
                found = await (await self.prepare(_LINE, name="")).fetchrow()
                assert found is not None, "a select of one row"  # noqa: S101 - for the types
                self._cluster, self._timeline = found["cluster"], found["timeline"]

    def _note_warning(self, message: asyncpg.PostgresLogMessage) -> None:
        """Note that a COMMIT which is about to be answered is not on the synchronous standby.

        Its wait was cancelled: the server says so with a warning, and then that it committed.
        """
        # Words are in the server's language.
        if message.server_source_filename == "syncrep.c":
            self._not_replicated = message.message

    async def _follows(self) -> Pooling:
        """Prepare a statement: a pooler that follows it has given it a name of its own."""
        name = f"loyalty_{secrets.token_hex(8)}"
        # Kept: the driver closes a statement that nobody holds.
        _kept = await self.prepare("SELECT 1", name=name)
        statement = await self.prepare(_PREPARED, name="")
        if not await statement.fetchval(name):
            return Pooling.FOLLOWED
        await self.execute(f"DEALLOCATE {name}")
        return Pooling.NOT_FOLLOWED


def _assignments(command: str, settings: Mapping[str, str]) -> str:
    return "".join(f"{command} {name} = '{value}';" for name, value in settings.items())


def driver_arguments(pooling: Pooling | None) -> dict[str, Any]:
    """Return the driver's arguments about prepared statements."""
    # Without a cache the driver sends a statement without a name anew with each of its values.
    return {"statement_cache_size": 0} if pooling is Pooling.NOT_FOLLOWED else {}


def engine_arguments(pooling: Pooling) -> dict[str, Any]:
    """Return SQLAlchemy's arguments about prepared statements."""
    if pooling is not Pooling.NOT_FOLLOWED:
        return {}
    return {"prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
