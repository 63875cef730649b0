"""Sockets inherited from systemd: only this process's, once, and only safe ones."""

import os
import socket
from collections.abc import Iterator

import pytest

from sync.runtime.systemd.sockets import UnusableSocketError, check_exposure, inherited_sockets

PID = 41


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Listen on a free port, as systemd would."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def handed(count: int = 1, pid: int = PID) -> dict[str, str]:
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": "tills"}


def adopt(given: socket.socket, environ: dict[str, str]) -> list[socket.socket]:
    """Pass a duplicate of the descriptor, owned by the adopted socket."""
    descriptor = os.dup(given.fileno())
    adopted = inherited_sockets(environ, PID, descriptor)
    if not adopted:
        os.close(descriptor)
    return adopted


def test_inherited_socket_accepts_connections(listening: socket.socket) -> None:
    (adopted,) = adopt(listening, handed())
    with adopted, socket.create_connection(listening.getsockname()):
        connection, _ = adopted.accept()
        connection.close()


def test_inherited_socket_is_not_passed_to_child_processes(listening: socket.socket) -> None:
    (adopted,) = adopt(listening, handed())
    with adopted:
        assert not adopted.get_inheritable()
        assert not adopted.getblocking()


def test_sockets_are_inherited_only_once(listening: socket.socket) -> None:
    environ = handed()
    (adopted,) = adopt(listening, environ)
    adopted.close()
    assert environ == {}
    assert adopt(listening, environ) == []


def test_sockets_for_another_process_are_ignored(listening: socket.socket) -> None:
    assert adopt(listening, handed(pid=PID + 1)) == []


def test_without_systemd_no_sockets_are_inherited() -> None:
    assert inherited_sockets({}, PID) == []


def test_invalid_listen_fds_count_is_ignored(listening: socket.socket) -> None:
    assert adopt(listening, handed() | {"LISTEN_FDS": "many"}) == []


def test_connected_socket_is_rejected() -> None:
    """With Accept=yes in the socket unit, systemd passes accepted connections."""
    with socket.socket() as unbound, pytest.raises(UnusableSocketError, match="Accept=no"):
        adopt(unbound, handed())


def test_unix_socket_is_rejected() -> None:
    with socket.socket(socket.AF_UNIX) as local:
        local.bind("")
        local.listen()
        with pytest.raises(UnusableSocketError, match="ListenStream="):
            adopt(local, handed())


def test_network_socket_without_token_and_tls_is_rejected() -> None:
    with (
        socket.create_server(("0.0.0.0", 0)) as wide,  # noqa: S104 - must be rejected
        pytest.raises(UnusableSocketError, match="token_file"),
    ):
        check_exposure([wide], protected=False)


def test_network_socket_with_token_and_tls_is_accepted() -> None:
    with socket.create_server(("0.0.0.0", 0)) as wide:  # noqa: S104 - protected
        check_exposure([wide], protected=True)


def test_loopback_socket_needs_no_token_or_tls(listening: socket.socket) -> None:
    check_exposure([listening], protected=False)
