"""Script of the drill: outage, crash and recovery, step by step."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.drill.processes import NAMES, ProgramProcess, free_port, prepare_agent, prepare_receiver
from agent.drill.proxy import CuttableProxy
from agent.drill.result import DrillResult, compare, count_records
from agent.drill.simulated_tills import Receipts, Tills

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per step, seconds between customers, and the time limit for delivery."""

    step_seconds: float
    pause_seconds: float
    delivery_seconds: float


NORMAL = Timing(step_seconds=10.0, pause_seconds=0.1, delivery_seconds=60.0)
FAST = Timing(step_seconds=0.5, pause_seconds=0.01, delivery_seconds=30.0)


@dataclass(slots=True)
class DrillProgress:
    """State to display: steps so far, retried requests, interim result.

    Captures that the interim result counts as lost are still being delivered.
    """

    steps: list[str] = field(default_factory=list)
    retries: int = 0
    interim: DrillResult = field(default_factory=DrillResult)


ShowProgress = Callable[[DrillProgress], None]


async def run_drill(directory: Path, timing: Timing, show: ShowProgress) -> DrillResult:
    """Run the drill in the empty `directory`; return the result. Raises `ProcessFailedError`."""
    async with AsyncExitStack() as stack:
        return await _Drill(directory, timing, show, stack).run()


@dataclass(slots=True)
class _Drill:
    directory: Path
    timing: Timing
    show: ShowProgress
    stack: AsyncExitStack
    progress: DrillProgress = field(default_factory=DrillProgress)

    @property
    def database(self) -> Path:
        return self.directory / "receiver" / "hq.db"

    async def run(self) -> DrillResult:
        self._begin_step("head office starts")
        proxy, central_url, token_file = await self._start_head_office()
        self._begin_step("the agent starts, three tills open")
        port = free_port()
        agent = prepare_agent(self.directory / "agent", port, central_url, token_file)
        self.stack.push_async_callback(agent.stop)
        await agent.start("run", "agent.serving")
        tills = Tills(port, self.timing.pause_seconds)
        tills.open()
        self.stack.push_async_callback(tills.close, 0.0)
        async with self._displayed(tills.receipts):
            await self._fail_and_recover(agent, proxy)
            self._begin_step("the tills close, the rest is delivered")
            await tills.close(self.timing.delivery_seconds)
            await self._wait_for_delivery(tills.receipts)
        return compare(tills.receipts, self.database)

    async def _start_head_office(self) -> tuple[CuttableProxy, str, Path]:
        receiver = prepare_receiver(self.directory / "receiver")
        token_file = self.directory / "token"
        token = await receiver.output_of("enroll", *NAMES)
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        self.stack.push_async_callback(receiver.stop)
        serving = await receiver.start("serve", "hq.serving")
        proxy = CuttableProxy(int(str(serving["port"])))
        port = await proxy.open()
        self.stack.push_async_callback(proxy.close)
        return proxy, f"http://127.0.0.1:{port}", token_file

    async def _fail_and_recover(self, agent: ProgramProcess, proxy: CuttableProxy) -> None:
        await self._run_step("captures while online")
        proxy.cut()
        await self._run_step("THE NETWORK IS CUT: captures continue offline")
        self._begin_step("THE AGENT CRASHES: the tills retry")
        await agent.crash()
        await agent.start("run", "agent.serving")
        await self._run_step("the agent is back, still offline")
        proxy.restore()
        await self._run_step("the network is back")

    async def _run_step(self, name: str) -> None:
        self._begin_step(name)
        await asyncio.sleep(self.timing.step_seconds)

    def _begin_step(self, name: str) -> None:
        self.progress.steps.append(name)
        self.show(self.progress)

    async def _wait_for_delivery(self, receipts: Receipts) -> None:
        """Wait until head office has all acknowledged captures or the time limit expires."""
        wanted = len(receipts.acknowledged)
        try:
            async with asyncio.timeout(self.timing.delivery_seconds):
                while count_records(self.database) < wanted:  # noqa: ASYNC110 - other process
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            self._begin_step("not everything was delivered in time")

    @asynccontextmanager
    async def _displayed(self, receipts: Receipts) -> AsyncIterator[None]:
        """Update the display until the block ends, and once more afterwards."""

        async def keep_updating() -> None:
            while True:
                self._update(receipts)
                await asyncio.sleep(_POLL_SECONDS)

        updating = asyncio.ensure_future(keep_updating())
        try:
            yield
        finally:
            updating.cancel()
            await asyncio.wait([updating])
            self._update(receipts)

    def _update(self, receipts: Receipts) -> None:
        self.progress.retries = receipts.retries
        with contextlib.suppress(sqlite3.Error):  # database busy: the receiver is writing
            self.progress.interim = compare(receipts, self.database)
        self.show(self.progress)
