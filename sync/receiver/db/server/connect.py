"""Connects to the first host that can be written.

One that hangs costs `HOST_SECONDS`; a single host, or the pooler there, may be busy for longer.

The driver's own limit is for all hosts together: one that accepts and never answers would be the
only one that is ever tried (MagicStack/asyncpg#1155).
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import asyncpg
from sqlalchemy.engine import URL

from sync.receiver.database_url import DEFAULT_PORT, TARGET, connect_arguments, places_of
from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.server.connection import Pooling, ServerConnection, driver_arguments
from sync.runtime.settings.setting_errors import ConfigurationError

HOST_SECONDS, SINGLE_HOST_SECONDS = 2.0, 10.0
APPLICATION = {"application_name": "loyalty-hq"}
_Place = tuple[str | None, int | None]
_ERRORS = (
    *(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    # A name that is none for DNS either; a password's file that is not readable any more.
    *(UnicodeError, ConfigurationError),
)


class Connector:
    """Connects with the arguments in the URL. `password` is asked at each connection.

    Without one the driver reads it as psql does: from the file named by PGPASSFILE, or ~/.pgpass.
    """

    def __init__(
        self,
        url: URL,
        password: Callable[[], str] | None,
        settings: Mapping[str, str],
        command_timeout: float | None = None,
    ) -> None:
        arguments = connect_arguments(url)
        self._places = places_of(arguments)
        self._target = arguments.pop(TARGET, "any")
        for name in ("host", "port", "prepared_statement_cache_size"):
            arguments.pop(name, None)
        self._arguments: dict[str, Any] = arguments | {"command_timeout": command_timeout}
        if password is not None:
            self._arguments["password"] = password
        self._settings = settings
        # As found by the first connection; the next ones are made for it.
        self.pooling: Pooling | None = None
        self._state: str | None = None
        # After a failover the hosts before the new primary may hang: it is tried first.
        self._first = 0

    def forget(self) -> None:
        """Try the hosts in the order of the URL again."""
        self._first = 0

    async def connect(self) -> ServerConnection:
        """Connect to a server that can be written; else, if any will do, to one that answers.

        Raises `DatabaseUnavailableError` with what each host said. Safe to show: these messages
        name host, user and database, never the password.
        """
        failures: list[str] = []
        self._state = None
        readable: ServerConnection | None = None
        try:
            for index in self._order():
                connection = await self._try(self._places[index], failures)
                if connection is None:
                    continue
                if fault := self._fault_of(connection):
                    failures.append(f"{connection.place} {fault}")
                    if self._target == "any" and readable is None:
                        readable = connection
                    else:
                        connection.terminate()
                    continue
                self._first = index
                return connection
            if readable is not None:
                kept, readable = readable, None
                return kept
        finally:
            if readable is not None:
                readable.terminate()
        raise DatabaseUnavailableError(f"PostgreSQL: {'; '.join(failures)}", self._state)

    async def connect_each(self) -> list[ServerConnection | str]:
        """Connect to every host; return the connections, and what the others said."""
        found: list[ServerConnection | str] = []
        for place in self._places:
            failures: list[str] = []
            found.append(await self._try(place, failures) or failures[0])
        return found

    def _order(self) -> Iterator[int]:
        yield self._first
        yield from (index for index in range(len(self._places)) if index != self._first)

    async def _try(self, place: _Place, failures: list[str]) -> ServerConnection | None:
        # With no other host to try there is nothing to hurry for.
        seconds = HOST_SECONDS if len(self._places) > 1 else SINGLE_HOST_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await self._connect_to(place)
        except TimeoutError:
            failures.append(f"{_name(place)}: no answer within {seconds:g} s")
        except _ERRORS as error:
            self._state = getattr(error, "sqlstate", None) or self._state
            failures.append(f"{_name(place)}: {words_of(error)}")
        return None

    async def _connect_to(self, place: _Place) -> ServerConnection:
        host, port = place
        connection: ServerConnection = await asyncpg.connect(
            host=host,
            port=port,
            connection_class=ServerConnection,
            server_settings=APPLICATION,
            # Which of them will do is judged here: the driver's variable must not.
            target_session_attrs="any",
            **driver_arguments(self.pooling),
            **self._arguments,
        )
        try:
            await connection.look(_name(place), self._settings)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _fault_of(self, connection: ServerConnection) -> str | None:
        if connection.is_standby:
            return "is a standby"
        if connection.is_read_only and self._target != "primary":
            return "is read-only"
        return None


def words_of(error: BaseException) -> str:
    """Return the message of a server or the system without details, which may quote values."""
    if "connection_lost()" in str(error):  # the driver's, of its own inner workings
        return "the connection was closed"
    # Of these the number is the library's.
    is_of_system = not isinstance(error, (socket.gaierror, ssl.SSLError))
    if isinstance(error, OSError) and is_of_system and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error.args[0]) if error.args else type(error).__name__


def _name(place: _Place) -> str:
    host, port = place
    if host is None:
        return "the local server"
    if host.startswith("/"):
        return host
    return f"[{host}]:{port or DEFAULT_PORT}" if ":" in host else f"{host}:{port or DEFAULT_PORT}"
