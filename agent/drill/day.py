"""Script of the drill: outage, crash and recovery, act by act."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.drill.line import Line
from agent.drill.parts import Part, agent_in, enrolled, free_port, receiver_in
from agent.drill.tills import Receipts, Tills
from agent.drill.verdict import Verdict, count_at_head_office, judge

_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Length:
    """Seconds per act, seconds between customers, and the time limit for delivery."""

    act_seconds: float
    pause_seconds: float
    delivery_seconds: float


DAY = Length(act_seconds=10.0, pause_seconds=0.1, delivery_seconds=60.0)
FAST = Length(act_seconds=0.5, pause_seconds=0.01, delivery_seconds=30.0)


@dataclass(slots=True)
class Scene:
    """State to display: acts so far, repeated requests, interim verdict.

    Captures that the interim verdict counts as lost are still being delivered.
    """

    acts: list[str] = field(default_factory=list)
    repeats: int = 0
    so_far: Verdict = field(default_factory=Verdict)


Watch = Callable[[Scene], None]


async def rehearse(directory: Path, length: Length, watch: Watch) -> Verdict:
    """Run the drill in the empty `directory`; return the verdict. Raises `PartFailed`."""
    async with AsyncExitStack() as parts:
        return await _Day(directory, length, watch, parts).play()


@dataclass(slots=True)
class _Day:
    directory: Path
    length: Length
    watch: Watch
    parts: AsyncExitStack
    scene: Scene = field(default_factory=Scene)

    @property
    def database(self) -> Path:
        return self.directory / "receiver" / "hq.db"

    async def play(self) -> Verdict:
        self._act("head office opens")
        line, central_url, token_file = await self._open_head_office()
        self._act("the agent starts, three tills open")
        port = free_port()
        agent = agent_in(self.directory / "agent", port, central_url, token_file)
        await self._start(agent)
        tills = Tills(port, self.length.pause_seconds)
        tills.open()
        self.parts.push_async_callback(tills.close, 0.0)
        async with self._watching(tills.receipts):
            await self._trade(agent, line)
            self._act("the tills close, the rest is delivered")
            await tills.close(self.length.delivery_seconds)
            await self._delivered(tills.receipts)
        return judge(tills.receipts, self.database)

    async def _open_head_office(self) -> tuple[Line, str, Path]:
        receiver = receiver_in(self.directory / "receiver")
        token_file = self.directory / "token"
        _keep_secret(token_file, await enrolled(receiver))
        self.parts.push_async_callback(receiver.stop)
        serving = await receiver.start("serve", "hq.serving")
        line = Line(int(str(serving["port"])))
        port = await line.open()
        self.parts.push_async_callback(line.close)
        return line, f"http://127.0.0.1:{port}", token_file

    async def _start(self, agent: Part) -> None:
        self.parts.push_async_callback(agent.stop)
        await agent.start("run", "agent.serving")

    async def _trade(self, agent: Part, line: Line) -> None:
        await self._for_an_act("captures with the line up")
        line.cut()
        await self._for_an_act("THE LINE IS CUT: captures go on")
        self._act("THE AGENT CRASHES: the tills ask again")
        await agent.crash()
        await agent.start("run", "agent.serving")
        await self._for_an_act("the agent is back, still without a line")
        line.mend()
        await self._for_an_act("the line is back")

    async def _for_an_act(self, name: str) -> None:
        self._act(name)
        await asyncio.sleep(self.length.act_seconds)

    async def _delivered(self, receipts: Receipts) -> None:
        """Wait until head office has all acknowledged captures or the time limit expires."""
        try:
            async with asyncio.timeout(self.length.delivery_seconds):
                while True:
                    if count_at_head_office(self.database) >= len(receipts.promised):
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            self._act("not everything was delivered in time")

    def _act(self, name: str) -> None:
        self.scene.acts.append(name)
        self.watch(self.scene)

    @asynccontextmanager
    async def _watching(self, receipts: Receipts) -> AsyncIterator[None]:
        """Update the display until the block ends, and once more afterwards."""
        looking = asyncio.ensure_future(self._look(receipts))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            self._look_once(receipts)

    async def _look(self, receipts: Receipts) -> None:
        while True:
            self._look_once(receipts)
            await asyncio.sleep(_LOOK_SECONDS)

    def _look_once(self, receipts: Receipts) -> None:
        self.scene.repeats = receipts.repeats
        with contextlib.suppress(sqlite3.Error):  # database busy: the receiver is writing
            self.scene.so_far = judge(receipts, self.database)
        self.watch(self.scene)


def _keep_secret(file: Path, secret: str) -> None:
    file.touch(mode=0o600)
    file.write_text(secret)
