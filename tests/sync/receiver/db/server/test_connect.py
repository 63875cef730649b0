"""Hosts that hang or refuse: what they cost, and what is said of them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from sync.receiver.cli.hq import run_on_database
from sync.receiver.database_url import parse_server_url
from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.health.outage import outage_cause
from sync.receiver.db.server.connect import Connector
from tests.support.certificates import make_certificate
from tests.support.head_office.receiver import settings_in

_PASSWORD = "hunter2"  # noqa: S105 - of the test


@pytest.fixture
async def silent_port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Return a port that accepts connections and says nothing, as a frozen server does."""
    monkeypatch.setattr("sync.receiver.db.server.connect.HOST_SECONDS", 0.1)
    release = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    release.set()
    server.close()


def connector(where: str, ssl: str = "disable") -> Connector:
    url = parse_server_url(f"postgresql+asyncpg://hq@{where}/hq?ssl={ssl}")
    return Connector(url, lambda: _PASSWORD, {})


async def test_a_host_that_hangs_does_not_keep_the_next_one_from_being_asked(
    silent_port: int,
) -> None:
    """The driver's limit is for all hosts together: the second one was never reached."""
    with pytest.raises(DatabaseUnavailableError) as raised:
        await connector(f"127.0.0.1:{silent_port},127.0.0.1:1").connect()

    assert str(raised.value) == (
        f"PostgreSQL: 127.0.0.1:{silent_port}: no answer within 0.1 s;"
        " 127.0.0.1:1: Connection refused"
    )


async def test_the_cause_for_the_log_names_host_and_port_and_no_password() -> None:
    with pytest.raises(DatabaseUnavailableError) as raised:
        await connector("[::1]:1").connect()

    assert outage_cause(raised.value) == "PostgreSQL: [::1]:1: Connection refused"


def test_the_cause_for_the_log_names_a_lost_connection_whatever_the_driver_calls_it() -> None:
    """It said "see the log" in the log, and nothing else there."""
    of_driver = asyncpg.InterfaceError("cannot call Transaction.start(): guest@example.com")
    of_driver.add_note("db1:5432")
    lost = DBAPIError("INSERT", {}, of_driver, connection_invalidated=True)
    other = DBAPIError("INSERT", {}, of_driver)

    assert outage_cause(lost) == "PostgreSQL: db1:5432: the connection was lost"
    assert outage_cause(other) is None


def test_cancelled_connection_says_nothing_in_the_log(tmp_path: Path) -> None:
    """On asyncio's own loop its future is lost with an exception, which is then printed."""
    noise: list[object] = []

    async def cancel_after(steps: int, port: int) -> None:
        url = parse_server_url(f"postgresql+asyncpg://hq@127.0.0.1:{port}/hq")
        connecting = asyncio.ensure_future(Connector(url, None, {}).connect())
        for _ in range(steps):
            await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.wait([connecting])
        _ = connecting.cancelled() or connecting.exception()

    async def work(_: object) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(8)
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            for steps in range(60):
                await cancel_after(steps, server.sockets[0].getsockname()[1])
        gc.collect()

    run_on_database(settings_in(tmp_path), work, create=True)

    assert noise == []


async def test_host_that_closes_the_connection_at_once_is_said_to_do_so() -> None:
    """The driver calls it an unexpected call of its own."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DatabaseUnavailableError) as raised:
            await connector(f"127.0.0.1:{port}", "prefer").connect()

    assert str(raised.value) == f"PostgreSQL: 127.0.0.1:{port}: the connection was closed"


async def test_server_without_tls_is_said_to_have_none() -> None:
    """It was said to have closed the connection."""

    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"N")
        writer.close()

    async with await asyncio.start_server(refuse_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DatabaseUnavailableError, match="rejected SSL upgrade"):
            await connector(f"127.0.0.1:{port}", "require").connect()


async def test_a_host_without_an_address_is_named() -> None:
    with pytest.raises(DatabaseUnavailableError) as raised:
        await connector("no-such-host.invalid").connect()

    assert "no-such-host.invalid:5432: " in str(raised.value)


async def test_a_certificate_that_is_not_trusted_is_called_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is the library's, which is that of "Operation not permitted" for the system."""
    served = make_certificate(tmp_path / "served").served()
    trusted = make_certificate(tmp_path / "trusted").cert_file
    monkeypatch.setenv("PGSSLROOTCERT", str(trusted))

    async def offer_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(served)

    async with await asyncio.start_server(offer_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DatabaseUnavailableError) as raised:
            await connector(f"127.0.0.1:{port}", "verify-full").connect()

    assert "certificate verify failed" in str(raised.value)
