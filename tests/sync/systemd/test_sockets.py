"""Sockets from systemd: ours alone, once, and only what can be listened on without danger."""

import os
import socket
from collections.abc import Iterator

import pytest

from sync.runtime.systemd.sockets import UnfitSocket, check_reach, inherited_sockets

PID = 41


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Listen on a free port, as systemd would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def handed(count: int = 1, pid: int = PID) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": "tills"}


def adopt(given: socket.socket, environ: dict[str, str]) -> list[socket.socket]:
    """Hand a duplicate over, which the one who adopts it owns."""
    descriptor = os.dup(given.fileno())
    adopted = inherited_sockets(environ, PID, descriptor)
    if not adopted:
        os.close(descriptor)
    return adopted


def test_a_socket_that_is_handed_over_is_listened_on(listening: socket.socket) -> None:
    (adopted,) = adopt(listening, handed())
    with adopted, socket.create_connection(listening.getsockname()):
        connection, _ = adopted.accept()
        connection.close()


def test_a_socket_that_is_handed_over_stays_with_this_process(listening: socket.socket) -> None:
    (adopted,) = adopt(listening, handed())
    with adopted:
        assert not adopted.get_inheritable()
        assert not adopted.getblocking()


def test_sockets_are_handed_over_once(listening: socket.socket) -> None:
    environ = handed()
    (adopted,) = adopt(listening, environ)
    adopted.close()
    assert environ == {}
    assert adopt(listening, environ) == []


def test_sockets_for_another_process_are_left_alone(listening: socket.socket) -> None:
    assert adopt(listening, handed(pid=PID + 1)) == []


def test_without_systemd_there_are_none() -> None:
    assert inherited_sockets({}, PID) == []


def test_a_count_that_is_no_number_is_as_none(listening: socket.socket) -> None:
    assert adopt(listening, handed() | {"LISTEN_FDS": "many"}) == []


def test_a_connection_instead_of_a_listening_socket_is_refused() -> None:
    """Accept=yes in the socket unit hands over one connection at a time."""
    with socket.socket() as unbound, pytest.raises(UnfitSocket, match="Accept=no"):
        adopt(unbound, handed())


def test_a_socket_in_the_file_system_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as local:
        local.bind("")
        local.listen()
        with pytest.raises(UnfitSocket, match="ListenStream="):
            adopt(local, handed())


def test_a_socket_open_to_the_network_is_refused_without_guards() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as wide,  # noqa: S104 - what must be refused
        pytest.raises(UnfitSocket, match="token_file"),
    ):
        check_reach([wide], guarded=False)


def test_a_socket_open_to_the_network_is_served_with_guards() -> None:
    with socket.create_server(("0.0.0.0", 0)) as wide:  # noqa: S104 - guarded
        check_reach([wide], guarded=True)


def test_a_socket_on_loopback_needs_no_guards(listening: socket.socket) -> None:
    check_reach([listening], guarded=False)
