"""A port on both loopback addresses: held against other programs, of other users too."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from sync.runtime.network import loopback
from sync.runtime.network.loopback import V4, V6, listen
from tests.support.raw_http import exchange
from tests.sync.runtime.network.test_http_server import GET, PATIENCE_SECONDS, served

NOBODY = 65_534
BIND = """
import socket, sys
one = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    one.setsockopt(socket.SOL_SOCKET, option, 1)
try:
    one.bind((sys.argv[1], int(sys.argv[2])))
    one.listen()
except OSError as error:
    sys.exit(error.errno)
"""


async def status_at(host: str, port: int) -> int:
    async with asyncio.timeout(PATIENCE_SECONDS):
        (answer,) = await exchange(host, port, GET, 1)
    return answer.status


@pytest.fixture
def squatter() -> Iterator[socket.socket]:
    """Listen on ::1 alone."""
    with closing(listen(V6, 0)) as taken:
        yield taken


@pytest.mark.parametrize("host", [V4, V6])
async def test_server_answers_on_both_loopback_addresses(host: str) -> None:
    async with served() as server:
        assert await status_at(host, server.port) == 200


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("address", [V4, V6, "0.0.0.0", "::", "::ffff:127.0.0.1"])  # noqa: S104 - the attack
async def test_another_user_cannot_share_or_take_the_port(address: str) -> None:
    async with served() as server:
        command = (sys.executable, "-c", BIND, address, str(server.port))
        done = await asyncio.to_thread(subprocess.run, command, user=NOBODY, check=False)

    assert done.returncode == errno.EADDRINUSE


async def test_own_process_cannot_share_the_port_either() -> None:
    async with served() as server:
        for host in (V4, V6):
            with pytest.raises(OSError, match="in use"):
                listen(host, server.port)


async def test_clients_of_one_address_are_served_while_another_program_has_the_other(
    squatter: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loopback, "RETRY_SECONDS", 0.02)
    port = squatter.getsockname()[1]
    inherited = listen(V4, port)
    async with served(inherited) as server:
        taken = server.server.other_loopback.taken_by_another
        before = await status_at(V4, port)
        squatter.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while server.server.other_loopback.taken_by_another:  # noqa: ASYNC110 - a retry's end
                await asyncio.sleep(0.01)
        after = await status_at(V6, port)

    assert (taken, before, after) == (f"[::1]:{port}", 200, 200)
    (record,) = [one for one in caplog.records if one.message == "http.loopback_taken"]
    assert record.__dict__["fields"]["user"]


async def test_machine_without_ipv6_is_served_on_one_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    really_listen = loopback.listen

    def without_ipv6(host: str, port: int) -> socket.socket:
        if host == V6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return really_listen(host, port)

    monkeypatch.setattr(loopback, "listen", without_ipv6)
    with caplog.at_level("INFO"):
        async with served() as server:
            assert await status_at(V4, server.port) == 200
            assert server.server.other_loopback.taken_by_another is None
    assert caplog.messages.count("http.one_loopback") == 1


async def test_free_port_is_free_on_both_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first port found is taken on ::1: another one is chosen for both."""
    with closing(listen(V6, 0)) as taken:
        port, really_listen, asked = taken.getsockname()[1], loopback.listen, []

        def first_on_the_taken(host: str, wanted: int) -> socket.socket:
            asked.append(host)
            return really_listen(host, port if len(asked) == 1 else wanted)

        monkeypatch.setattr(loopback, "listen", first_on_the_taken)
        sockets = loopback.loopback_sockets("localhost", 0)
    addresses = [one.getsockname()[:2] for one in sockets]
    for one in sockets:
        one.close()

    assert [host for host, _ in addresses] == [V4, V6]
    assert len({found for _, found in addresses} - {port}) == 1


@pytest.mark.parametrize("first", [V4, "0.0.0.0"])  # noqa: S104 - as in a drop-in
async def test_socket_unit_that_was_moved_decides_about_the_other_address(first: str) -> None:
    """The other unit still has the old port; another program may have that on 127.0.0.1."""
    with closing(listen(first, 0)) as moved, closing(listen(V6, 0)) as old:
        port = moved.getsockname()[1]
        with closing(listen(V4, old.getsockname()[1])):
            other, held = loopback.OtherLoopback(), list[socket.socket]()
            other.hold([moved, old], held.append)
            other.stop()
    addresses = [one.getsockname()[:2] for one in held]
    for one in held:
        one.close()

    assert addresses == ([(V6, port)] if first == V4 else [])
    assert other.taken_by_another is None


async def test_other_addresses_are_not_paired() -> None:
    assert loopback.addresses_of("127.0.0.2") == ("127.0.0.2",)
    assert loopback.addresses_of("0.0.0.0") == ("0.0.0.0",)  # noqa: S104 - compared
