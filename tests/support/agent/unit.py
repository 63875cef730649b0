"""The agent as a service of systemd, for tests of its start."""

import json
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.agent.process import AGENT, AgentProcess
from tests.support.notify_socket import Manager
from tests.support.processes import running_service
from tests.support.till.requests import Requests, Response, fresh_pair, get, send_request

REQUESTS = Requests("127.0.0.1", 0)
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Unit:
    """The agent as systemd runs it: a socket that outlives it, a state directory, a manager."""

    def __init__(self, place: Path, listening: socket.socket, manager: Manager) -> None:
        self.config = place / "agent.toml"
        self.state = place / "state"
        self.state.mkdir(mode=0o700)
        self.manager = manager
        self.port = int(listening.getsockname()[1])
        self._listening = listening

    @asynccontextmanager
    async def running(
        self, configuration: str, program: Sequence[str] = AGENT, **variables: str
    ) -> AsyncIterator[AgentProcess]:
        self.config.write_text(configuration)
        descriptor = self._listening.fileno()
        command = (sys.executable, "-c", _HAND_OVER, str(descriptor), *program)
        given = {"STATE_DIRECTORY": str(self.state), **self.manager.environ, **variables}
        async with running_service(
            AgentProcess,
            (*command, "--config", str(self.config), "run"),
            variables=given,
            descriptors=(descriptor,),
        ) as child:
            yield child

    async def runs_once(self, configuration: str) -> None:
        async with self.running(configuration) as child:
            await child.ready()
            child.terminate()
            assert await child.exit_code() == 0

    async def status(self) -> dict[str, object]:
        found = json.loads((await get(self.port, "/agent/v1/status")).body)
        assert isinstance(found, dict)
        return found

    async def capture(self) -> Response:
        return await send_request(self.port, REQUESTS.session(fresh_pair()))
