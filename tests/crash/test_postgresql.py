"""Several receivers on PostgreSQL: the database crashes under load, a receiver is killed."""

import os
import random
from pathlib import Path

import pytest

from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.load import LoadAgent, enroll_on, findings, start_load, stored_at
from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.process import ReceiverProcess, receiver_process

pytestmark = pytest.mark.process

SEED = int(os.environ.get("CRASH_SEED", "20250109"))
ROUNDS = 10
STOP_SECONDS = 5.0
SENDERS = [
    SimulatedAgent("0042", "till-1"),
    SimulatedAgent("0042", "till-2"),
    SimulatedAgent("0043", "till-1"),
]


class TwoReceivers:
    """Agents that each send to two receivers at once, and crashes during that load."""

    def __init__(self, server: PostgresqlServer, url: str, agents: list[LoadAgent]) -> None:
        self._server = server
        self._url = url
        self._agents = agents
        self._twins = [LoadAgent(one.sender, one.token, random.Random(SEED)) for one in agents]

    async def crash_the_server(
        self, first: ReceiverProcess, second: ReceiverProcess
    ) -> list[list[str]]:
        """Crash the database under load and restart it; return each agent's Retry-After values."""
        loads = [
            start_load(self._agents, await first.port()),
            start_load(self._twins, await second.port()),
        ]
        for load in loads:
            await load.any_acknowledged.wait()
        await self._server.crash()
        for load in loads:
            await load.finished()
        await self._server.start()
        return [one.retry_after_values for one in (*self._agents, *self._twins)]

    async def kill_one_of(self, first: ReceiverProcess, second: ReceiverProcess) -> int:
        """Kill the first receiver under load and stop the second; return its exit code."""
        loads = [
            start_load(self._agents, await first.port()),
            start_load(self._twins, await second.port()),
        ]
        for load in loads:
            await load.any_acknowledged.wait()
        first.kill()
        await loads[0].finished()
        second.terminate()
        exit_code = await second.exit_code(STOP_SECONDS)
        await loads[1].finished()
        return exit_code

    async def findings(self) -> list[str]:
        """Return differences between acknowledged events and the tables."""
        return findings([*self._agents, *self._twins], await stored_at(self._url))


async def two_receivers_on(server: PostgresqlServer) -> tuple[TwoReceivers, str]:
    """Enroll the agents in a new database; return its URL as well."""
    print(f"CRASH_SEED={SEED}")
    url = await server.new_database()
    agents = await enroll_on(Postgresql(url), SENDERS, random.Random(SEED))
    return TwoReceivers(server, url, agents), url


async def test_database_crash_under_load_loses_and_duplicates_nothing(
    crashing_postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    """Each agent gets a Retry-After and is then served on new connections."""
    both, url = await two_receivers_on(crashing_postgresql_server)
    async with (
        receiver_process(tmp_path / "first", database=url) as first,
        receiver_process(tmp_path / "second", database=url) as second,
    ):
        put_off = await both.crash_the_server(first, second)
        exit_code = await both.kill_one_of(first, second)

    assert await both.findings() == []
    assert [len(seconds) for seconds in put_off] == [1] * 2 * len(SENDERS)
    assert all(5 <= int(seconds) <= 10 for (seconds,) in put_off)
    assert exit_code == 0


@pytest.mark.campaign
async def test_many_crashes_of_database_and_receivers_lose_and_duplicate_nothing(
    crashing_postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    both, url = await two_receivers_on(crashing_postgresql_server)
    for _ in range(ROUNDS):
        async with (
            receiver_process(tmp_path / "first", database=url) as first,
            receiver_process(tmp_path / "second", database=url) as second,
        ):
            await both.crash_the_server(first, second)
            await both.kill_one_of(first, second)

    assert await both.findings() == []
