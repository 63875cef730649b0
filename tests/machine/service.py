"""The agent as a systemd service of a machine: install it, send requests, query systemd."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import ParamSpec, TypeVar

from tests.machine.machine import Machine
from tests.support.patience import PATIENCE_SECONDS
from tests.support.till.requests import Requests, Response, fresh_pair, get, send_request

HOST, PORT = "127.0.0.1", 8480
UNIT = "loyalty-agent.service"
STATE = "var/lib/loyalty-agent"
_LOOK_SECONDS = 0.01
_REQUESTS = Requests(HOST, PORT)
P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """The agent on a running machine. Requests use the machine's network."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @property
    def state(self) -> Path:
        """Its state directory, as a path of the host."""
        return self.machine.root / STATE

    def install(self, package: Path) -> str:
        """Install a package, as store IT does; return the output."""
        shutil.copy(package, self.machine.root / "root")
        return self.machine.run("dpkg", "--install", f"/root/{package.name}")

    def add_to_unit(self, *lines: str) -> None:
        """Add settings to the unit by a drop-in; effective from the next start."""
        drop_ins = self.machine.root / "etc/systemd/system" / f"{UNIT}.d"
        drop_ins.mkdir(exist_ok=True)
        (drop_ins / "test.conf").write_text("\n".join(("[Service]", *lines, "")))
        self.machine.run("systemctl", "daemon-reload")

    def unit_property(self, name: str, unit: str = UNIT) -> str:
        """Return a property of a unit (default: the agent's) from systemd."""
        return self.machine.run("systemctl", "show", unit, "--property", name, "--value").strip()

    def pid(self) -> int:
        """Return the host's PID of the main process."""
        return self.machine.host_pid(int(self.unit_property("MainPID")))

    def seconds_to_ready(self) -> float:
        """Return the seconds from the last start until READY."""
        started, ready = (
            int(self.unit_property(f"{name}TimestampMonotonic"))
            for name in ("ExecMainStart", "ActiveEnter")
        )
        return (ready - started) / 1e6

    async def start_session(self) -> Response:
        """Send a session start; its connection may wait in the backlog."""
        with self.machine.network():
            return await send_request(PORT, _REQUESTS.session(fresh_pair()))

    async def seconds_to_first_answer(self) -> float:
        """Poll /readyz until it returns 200; return the elapsed seconds."""
        began = time.monotonic()
        await wait_until(self._is_ready)
        return time.monotonic() - began

    async def _is_ready(self) -> bool:
        try:
            with self.machine.network():
                return (await get(PORT, "/readyz")).status == HTTPStatus.OK
        except OSError:
            return False  # the socket does not exist yet

    async def wait_until_active(self, unit: str = UNIT) -> None:
        """Wait until systemd considers the unit active."""

        async def active() -> bool:
            return self.unit_property("ActiveState", unit) == "active"

        await wait_until(active)

    async def wait_until_restarted(self, count: int, unit: str = UNIT) -> None:
        """Wait until systemd has restarted the unit `count` times."""

        async def restarted() -> bool:
            return int(self.unit_property("NRestarts", unit)) >= count

        await wait_until(restarted)

    async def run_in_thread(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Run blocking `work` in a thread while tills are served."""
        return await asyncio.to_thread(work, *args, **named)

    def status(self) -> dict[str, object]:
        """Return the report of `loyalty-agent status --json`."""
        # Exit code 1: the report has something for a person.
        command = "loyalty-agent status --json 2> /dev/null || [ $? = 1 ]"
        printed = self.machine.run("sh", "-c", command)
        report = json.loads(printed)
        assert isinstance(report, dict)
        return report


async def wait_until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Poll until true: systemd sends no events out of the machine."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await is_so():  # noqa: ASYNC110 - see above
            await asyncio.sleep(_LOOK_SECONDS)
