"""One hostile token at full force: other stores' batches and heartbeats stay quick and accepted.

`python -m pytest -m campaign tests/flows/test_hostile_token.py -s` prints its figures for each
attack alone, then for all of them at once.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH
from sync.receiver.auth.readers_token import FILE_NAME as READERS_TOKEN_FILE
from sync.receiver.config import DATABASE_FILE
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from tests.support.head_office.hostile import ATTACKS, HOSTILE
from tests.support.head_office.load import LoadAgent, enroll_on, event
from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.process import ReceiverProcess, receiver_process
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from sync.receiver.db.database import Database
    from tests.support.head_office.postgresql import PostgresqlServer

ALONE_SECONDS, TOGETHER_SECONDS = 10.0, 60.0
HONEST = [SimulatedAgent(f"{number:04}", "till-1") for number in range(1, 11)]
BATCH_EVENTS = 20
MOST_SECONDS = 1.0
MOST_MEMORY_KIB = 400 * 1024
# The pages also count what the honest agents sent meanwhile.
MOST_SLOWDOWN, SLACK_SECONDS = 2.0, 0.05
PAGES = ("/", "/v1/stores", "/v1/stores/0001")
# Counts every event by design: printed only.
AUDIT = "/v1/completeness"
pytestmark = pytest.mark.campaign


@dataclass(slots=True)
class Honest:
    """Agents of other stores: a batch and a heartbeat a second each."""

    port: int
    agents: Sequence[LoadAgent]
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    async def work(self, until: float) -> None:
        """Send until the time `until` of the event loop."""
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as client:
            await asyncio.gather(*(self._work(client, agent, until) for agent in self.agents))

    async def _work(self, client: aiohttp.ClientSession, agent: LoadAgent, until: float) -> None:
        now = asyncio.get_running_loop().time
        await asyncio.sleep(agent.rng.random())
        while now() < until:
            next_at = now() + 1
            numbers = range(agent.acknowledged + 1, agent.acknowledged + 1 + BATCH_EVENTS)
            batch = agent.sender.batch(*(event(agent.sender, number) for number in numbers))
            if await self._post(client, agent, BATCHES_PATH, batch) == 200:
                agent.acknowledged += BATCH_EVENTS
            await self._post(client, agent, HEARTBEATS_PATH, agent.sender.heartbeat())
            await asyncio.sleep(max(0.0, next_at - now()))

    async def _post(
        self, client: aiohttp.ClientSession, agent: LoadAgent, path: str, body: bytes
    ) -> int:
        headers = {"Authorization": f"Bearer {agent.token}"}
        began = time.monotonic()
        try:
            async with client.post(
                f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers
            ) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        self.seconds.append(time.monotonic() - began)
        self.statuses[status] += 1
        return status

    @property
    def p99(self) -> float:
        """The 99th percentile of the seconds."""
        return statistics.quantiles(self.seconds, n=100)[98]


@dataclass(frozen=True, slots=True)
class Office:
    """A receiver process, the honest agents, and the hostile token."""

    process: ReceiverProcess
    port: int
    agents: Sequence[LoadAgent]
    token: str
    readers_token: str

    async def under_attack(self, names: Sequence[str], seconds: float) -> tuple[Honest, str]:
        """Let the honest agents work during the attacks; return both sides' figures."""
        honest = Honest(self.port, self.agents)
        arguments = [str(self.port), self.token, str(seconds), *names]
        attacker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.head_office.hostile",
            *arguments,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        await honest.work(asyncio.get_running_loop().time() + seconds)
        try:
            out, _ = await asyncio.wait_for(attacker.communicate(), PATIENCE_SECONDS)
        finally:
            if attacker.returncode is None:
                attacker.kill()
        return honest, json.dumps(json.loads(out), sort_keys=True)

    async def quiet(self, seconds: float) -> Honest:
        """Let the honest agents work alone."""
        honest = Honest(self.port, self.agents)
        await honest.work(asyncio.get_running_loop().time() + seconds)
        return honest

    async def page_seconds(self) -> dict[str, float]:
        """Return the seconds of each page, the best of several."""
        found = {}
        bearer = {"Authorization": f"Bearer {self.readers_token}"}
        async with aiohttp.ClientSession(headers=bearer) as client:
            for path in (*PAGES, AUDIT):
                took = []
                for _ in range(5):
                    began = time.monotonic()
                    async with client.get(f"http://127.0.0.1:{self.port}{path}") as response:
                        await response.read()
                        assert response.status == 200
                    took.append(time.monotonic() - began)
                found[path] = min(took)
        return found

    def peak_memory_kib(self) -> int:
        """Return the receiver's peak resident memory since its start."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])


def report(name: str, honest: Honest, office: Office, attacker: str = "") -> None:
    """Print the figures of one phase."""
    print(
        f"{name:9} p50 {statistics.median(honest.seconds):.3f} p99 {honest.p99:.3f}"
        f" max {max(honest.seconds):.3f} s, {dict(honest.statuses)}"
        f", peak {office.peak_memory_kib() // 1024} MiB {attacker}",
        flush=True,
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("attacks", [*([name] for name in ATTACKS), list(ATTACKS)], ids="+".join)
async def test_other_stores_are_served_as_before_while_one_token_attacks(
    kind: str, attacks: list[str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = ""
    database: Database = SqliteFile(tmp_path / "hq" / DATABASE_FILE)
    if kind == "postgresql":
        server: PostgresqlServer = request.getfixturevalue("postgresql_server")
        url = await server.new_database()
        database = Postgresql(url)
    *agents, hostile = await enroll_on(database, [*HONEST, HOSTILE], random.Random(20))
    seconds = TOGETHER_SECONDS if len(attacks) > 1 else ALONE_SECONDS
    async with receiver_process(tmp_path / "hq", database=url) as process:
        port = await process.port()
        readers_token = (tmp_path / "hq" / READERS_TOKEN_FILE).read_text().strip()
        office = Office(process, port, agents, hostile.token, readers_token)
        report(f"{kind} quiet", await office.quiet(3), office)
        before = await office.page_seconds()
        honest, attacker = await office.under_attack(attacks, seconds)
        report("+".join(attacks), honest, office, attacker)
        after = await office.page_seconds()
        peak = office.peak_memory_kib()

    for path in (*PAGES, AUDIT):
        print(f"{path}: {before[path]:.4f} s before, {after[path]:.4f} s after")
    assert set(honest.statuses) == {200}, "nobody is refused for the sake of the attacker"
    assert honest.p99 <= MOST_SECONDS
    assert peak < MOST_MEMORY_KIB
    assert all(after[path] <= MOST_SLOWDOWN * before[path] + SLACK_SECONDS for path in PAGES)
