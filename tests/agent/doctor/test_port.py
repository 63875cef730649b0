"""Check of the API port, by real sockets and by facts."""

import os
import socket
from pathlib import Path

import pytest

from agent.doctor.port import check_port
from sync.runtime.checks.check import Verdict
from sync.runtime.network.listeners import find_listeners

AGENT, OTHER, SYSTEMD = {4711: "loyalty-agent"}, {99: "nginx"}, {1: "systemd"}
PROC = Path("/proc")


@pytest.mark.parametrize(
    ("holders", "agent", "verdict", "words"),
    [
        (None, None, Verdict.PASS, "is free"),
        (None, 4711, Verdict.WARNING, "does not listen"),
        (AGENT, 4711, Verdict.PASS, "the agent (process 4711)"),
        (SYSTEMD | AGENT, 4711, Verdict.PASS, "the agent"),
        (SYSTEMD, None, Verdict.PASS, "systemd"),
        (SYSTEMD, 4711, Verdict.FAULT, "not for the agent"),
        (OTHER, None, Verdict.FAULT, "used by nginx (process 99)"),
        (OTHER, 4711, Verdict.FAULT, "not by the agent"),
        ({}, None, Verdict.WARNING, "another user"),
        ({}, 4711, Verdict.WARNING, "cannot see"),
    ],
)
def test_port_verdict_depends_on_its_holder(
    holders: dict[int, str] | None, agent: int | None, verdict: Verdict, words: str
) -> None:
    check = check_port("127.0.0.1", 8480, holders, agent)

    assert check.verdict is verdict
    assert words in check.found
    assert bool(check.advice) == (verdict is not Verdict.PASS)


def test_any_free_port_passes() -> None:
    assert check_port("127.0.0.1", 0, None, 4711).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("listens_on", "asked", "is_taken"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),  # noqa: S104 - the case of the test
        ("127.0.0.1", "0.0.0.0", True),  # noqa: S104 - the case of the test
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("127.0.0.1", "::", True),
        ("::", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("::1", "localhost", True),
        ("127.0.0.2", "localhost", False),
    ],
)
def test_listening_socket_is_found_with_its_process_by_address(
    listens_on: str, asked: str, *, is_taken: bool
) -> None:
    family = socket.AF_INET6 if ":" in listens_on else socket.AF_INET
    with socket.create_server((listens_on, 0), family=family) as server:
        port = server.getsockname()[1]

        found = find_listeners(asked, port, PROC)

    assert (found is not None) is is_taken
    assert (os.getpid() in (found or {})) is is_taken


def test_process_that_closes_files_meanwhile_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy agent does so all the time; doctor then named a process of another user."""
    readlink = Path.readlink
    with socket.create_server(("127.0.0.1", 0)) as server:

        def of_open_file(file: Path) -> Path:
            if file.name != str(server.fileno()):
                raise FileNotFoundError
            return readlink(file)

        monkeypatch.setattr(Path, "readlink", of_open_file)
        found = find_listeners("127.0.0.1", server.getsockname()[1], PROC)

    assert found is not None
    assert os.getpid() in found


def test_outgoing_connection_does_not_occupy_the_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        port = client.getsockname()[1]

        assert find_listeners("127.0.0.1", port, PROC) is None


def test_unreadable_proc_counts_as_a_free_port(tmp_path: Path) -> None:
    assert find_listeners("127.0.0.1", 8480, tmp_path) is None
