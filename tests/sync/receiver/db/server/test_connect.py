"""Hosts that hang or refuse: what they cost, and what is said of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from sync.receiver.database_url import parse_server_url
from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.health.outage import outage_cause
from sync.receiver.db.server.connect import Connector
from tests.support.certificates import make_certificate

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
