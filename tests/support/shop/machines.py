"""Both programs in processes of their own, restarted at will, for end-to-end tests."""

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp

from tests.support.agent.process import AgentProcess, agent, agent_process, delivering_to
from tests.support.head_office.process import ReceiverProcess, hq, receiver_process, write_config
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import free_port
from tests.support.shop.receivers import STORE, TILL, keep_token
from tests.support.shop.records import records_at, records_in
from tests.support.shop.shop import trade_at
from tests.support.shop.verdict import StoredRecord
from tests.support.till.ledger import TillLedger

_LOOK_SECONDS = 0.05
_EPOCHS = "SELECT epoch FROM epoch ORDER BY number"


class Office:
    """A head office in a process of its own, on one port."""

    def __init__(self, directory: Path, database: str = "") -> None:
        self.directory, self.database, self._port = directory, database, free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def file(self) -> Path:
        return self.directory / "hq.db"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ReceiverProcess]:
        """Serve until the block ends, then kill the process."""
        async with receiver_process(
            self.directory, database=self.database, port=self._port
        ) as running:
            await running.port()
            yield running

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        config = write_config(self.directory, database=self.database, port=self._port)
        return await asyncio.to_thread(hq, "--config", str(config), *arguments)

    async def records(self) -> list[StoredRecord]:
        if self.database:
            return await records_at(self.database)
        return records_in(self.file)

    async def until_there(self, count: int) -> list[StoredRecord]:
        """Wait until there are so many records; return them."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(there := await self.records()) < count:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(_LOOK_SECONDS)
        return there

    async def until_complete(self) -> None:
        """Wait until `completeness` finds nothing missing."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await self.command("completeness")).returncode:
                assert found.returncode == 1, found.stderr
                await asyncio.sleep(_LOOK_SECONDS)


class Machine:
    """A POS machine: its agent, restarted at will, and the customers of its tills."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory, self.ledger = directory, TillLedger()
        self._settings = settings

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Machine"]:
        """Run the agent until the block ends, then kill it."""
        async with agent_process(self.directory, settings=self._settings) as process:
            self.process: AgentProcess = process
            self.port = await process.ready()
            yield self

    async def trade(self, customers: int) -> None:
        await trade_at(self.port, self.ledger, customers)

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        config = self.directory.with_name(f"{self.directory.name}.toml")
        return await asyncio.to_thread(agent, "--config", str(config), *arguments)

    async def back_up(self, file: Path) -> None:
        made = await self.command("backup", str(file))
        assert made.returncode == 0, made.stderr

    async def get(self, path: str) -> dict[str, object]:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as client:
            answer: dict[str, object] = await (await client.get(path)).json()
            return answer

    async def status(self) -> dict[str, object]:
        return await self.get("/agent/v1/status")

    async def until(self, is_so: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so(status := await self.status()):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(_LOOK_SECONDS)
        return status

    def epochs(self) -> list[str]:
        with closing(sqlite3.connect(f"file:{self.directory}/agent.db?mode=ro", uri=True)) as one:
            return [epoch for (epoch,) in one.execute(_EPOCHS)]

    async def until_receipts_are_known(self) -> None:
        """Check that the agent answers every till's receipt."""
        for (kind, name), receipt in self.ledger.acknowledged.items():
            if kind.value == "session":
                page = await self.get(f"/agent/v1/sessions/{name}")
                assert f"{page['epoch']}/{page['sequence']}" == receipt


async def joined(office: Office, directory: Path) -> Machine:
    """Return a machine that is enrolled at `office`."""
    enrolled = await office.command("enroll", STORE, TILL)
    token = keep_token(directory.with_name("token"), enrolled.stdout.strip())
    settings = delivering_to(office.url) | {
        "LOYALTY_AGENT__CENTRAL__AUTH__KIND": "bearer",
        "LOYALTY_AGENT__CENTRAL__AUTH__TOKEN_FILE": str(token),
        "LOYALTY_AGENT__RETENTION__EMAIL_DAYS_AFTER_DELIVERY": "7",
    }
    return Machine(directory, settings)
