"""The agent as a service of a machine: installed, asked as a till, and looked after by systemd."""

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import ParamSpec, TypeVar

from tests.crash.child import ask, get
from tests.machine.machine import Machine
from tests.till.wire import Requests, Response, fresh_pair

HOST, PORT = "127.0.0.1", 8480
UNIT = "loyalty-agent.service"
STATE = "var/lib/loyalty-agent"
PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_REQUESTS = Requests(HOST, PORT)
P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """The agent in a machine that is on. What is asked goes by the machine's own network."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @property
    def state(self) -> Path:
        """Its state directory, as seen from here."""
        return self.machine.root / STATE

    def install(self, package: Path) -> str:
        """Install a package, as store IT does; return what was printed."""
        shutil.copy(package, self.machine.root / "root")
        return self.machine.run("dpkg", "--install", f"/root/{package.name}")

    def set_in_unit(self, *lines: str) -> None:
        """Change the unit by a drop-in; counts from the next start."""
        drop_ins = self.machine.root / "etc/systemd/system" / f"{UNIT}.d"
        drop_ins.mkdir(exist_ok=True)
        (drop_ins / "test.conf").write_text("\n".join(("[Service]", *lines, "")))
        self.machine.run("systemctl", "daemon-reload")

    def shows(self, name: str, unit: str = UNIT) -> str:
        """Return what systemd says of a unit, the agent's where none is named."""
        return self.machine.run("systemctl", "show", unit, "--property", name, "--value").strip()

    def pid(self) -> int:
        """The main process, as it is called here."""
        return self.machine.host_pid(int(self.shows("MainPID")))

    def seconds_to_ready(self) -> float:
        """Return how long the last start took until the service said that it serves."""
        started, ready = (
            int(self.shows(f"{name}TimestampMonotonic"))
            for name in ("ExecMainStart", "ActiveEnter")
        )
        return (ready - started) / 1e6

    async def start_session(self) -> Response:
        """Start a session as a till whose connection is taken at once or waits."""
        with self.machine.network():
            return await ask(PORT, _REQUESTS.session(fresh_pair()))

    async def first_answer(self) -> float:
        """Ask until it answers that it takes captures; return the seconds that took."""
        began = time.monotonic()
        await until(self._is_ready)
        return time.monotonic() - began

    async def _is_ready(self) -> bool:
        try:
            with self.machine.network():
                return (await get(PORT, "/readyz")).status == HTTPStatus.OK
        except OSError:
            return False  # not even the socket is there yet

    async def is_active(self, unit: str = UNIT) -> None:
        """Wait until systemd has been told that it serves."""

        async def active() -> bool:
            return self.shows("ActiveState", unit) == "active"

        await until(active)

    async def is_restarted(self, count: int, unit: str = UNIT) -> None:
        """Wait until systemd has started it anew so many times."""

        async def restarted() -> bool:
            return int(self.shows("NRestarts", unit)) >= count

        await until(restarted)

    async def in_background(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Do what takes its time while tills go on being served."""
        return await asyncio.to_thread(work, *args, **named)

    def status(self) -> dict[str, object]:
        """Return its own report, as the command in the package prints it."""
        printed = self.machine.run("loyalty-agent", "status", "--json")
        report = json.loads(printed)
        assert isinstance(report, dict)
        return report


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Look again until it is so: systemd tells nobody outside of the machine."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await is_so():  # noqa: ASYNC110 - see above
            await asyncio.sleep(_LOOK_SECONDS)
