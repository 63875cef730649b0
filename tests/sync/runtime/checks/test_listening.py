"""Whether a service can listen on its address, as users see it who do not see all processes."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sync.runtime.checks.listening import find_listening_problem

NOBODY = 65_534
HOST = "127.0.0.1"
_LISTEN = (
    "import socket; s = socket.create_server(('127.0.0.1', 0));"
    "print(s.getsockname()[1], flush=True); input()"
)
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user"),
]


@pytest.fixture
def port() -> Iterator[int]:
    """Return a port on which a process listens whose sockets this user cannot see."""
    command = (sys.executable, "-c", _LISTEN, "some-service")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        os.seteuid(NOBODY)
        try:
            yield port
        finally:
            os.seteuid(0)
            process.kill()


def test_port_with_a_hidden_holder_is_the_services_that_runs_hidden(port: int) -> None:
    assert find_listening_problem(HOST, port, "api", lambda words: "some-service" in words) is None


def test_port_with_a_hidden_holder_is_in_use_if_the_service_does_not_run(port: int) -> None:
    problem = find_listening_problem(HOST, port, "api", lambda words: "another" in words)
    assert problem is not None
    assert "in use by a process of another user" in problem
