"""Check of the API port, by real sockets and by facts."""

import os
import socket
from pathlib import Path

import pytest

from agent.doctor.check import Verdict
from agent.doctor.port import Holder, PortFacts, check_port, find_listeners

AGENT = Holder(4711, "loyalty-agent")
OTHER = Holder(99, "nginx")
SYSTEMD = Holder(1, "systemd")
PROC = Path("/proc")


def facts(*holders: Holder, taken: bool, agent: int | None = None, port: int = 8480) -> PortFacts:
    return PortFacts("127.0.0.1", port, taken, holders, agent)


@pytest.mark.parametrize(
    ("found", "verdict", "words"),
    [
        (facts(taken=False), Verdict.PASS, "is free"),
        (facts(taken=False, port=0), Verdict.PASS, "any free port"),
        (facts(taken=False, agent=4711), Verdict.WARNING, "does not listen"),
        (facts(AGENT, taken=True, agent=4711), Verdict.PASS, "the agent (process 4711)"),
        (facts(SYSTEMD, AGENT, taken=True, agent=4711), Verdict.PASS, "the agent"),
        (facts(SYSTEMD, taken=True), Verdict.PASS, "systemd"),
        (facts(SYSTEMD, taken=True, agent=4711), Verdict.FAULT, "not for the agent"),
        (facts(OTHER, taken=True), Verdict.FAULT, "used by nginx (process 99)"),
        (facts(OTHER, taken=True, agent=4711), Verdict.FAULT, "not by the agent"),
        (facts(taken=True), Verdict.WARNING, "another user"),
        (facts(taken=True, agent=4711), Verdict.WARNING, "cannot see"),
    ],
)
def test_port_verdict_depends_on_its_holder(found: PortFacts, verdict: Verdict, words: str) -> None:
    check = check_port(found)

    assert check.verdict is verdict
    assert words in check.found
    assert bool(check.advice) == (verdict is not Verdict.PASS)


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

        found = find_listeners(asked, port, None, PROC)

    assert found.is_taken is is_taken
    assert (os.getpid() in {holder.process for holder in found.holders}) is is_taken


def test_outgoing_connection_does_not_occupy_the_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        port = client.getsockname()[1]

        assert not find_listeners("127.0.0.1", port, None, PROC).is_taken


def test_unreadable_proc_counts_as_a_free_port(tmp_path: Path) -> None:
    assert not find_listeners("127.0.0.1", 8480, None, tmp_path).is_taken
