"""Receiver benchmark: batches into PostgreSQL.

With one receiver process and with two, compared to the same rows inserted without HTTP: for
each batch a COPY into staging tables and one INSERT per table, with one connection per agent.
The turns of a round run one after the other, each on its own database.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import aiohttp
import asyncpg
import zstandard

from sync.protocol.wire import BATCHES_PATH
from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.load import LoadAgent, enroll_on, event
from tests.support.head_office.messages import Members, SimulatedAgent
from tests.support.head_office.postgresql import PostgresqlServer, rows_at, started_server
from tests.support.head_office.process import receiver_process

BATCH_EVENTS = 500
SENDERS = [SimulatedAgent(f"{number:04}", "till-1") for number in range(8)]
TABLES = ("sessions", "email_answers")
Rows: TypeAlias = list[tuple[Any, ...]]


class Plan(NamedTuple):
    """Batches of each agent, and number of rounds."""

    batches: int
    rounds: int

    @property
    def events(self) -> int:
        """Events in a turn."""
        return self.batches * BATCH_EVENTS * len(SENDERS)


class Round(NamedTuple):
    """Events per second: by COPY, by one process, by two."""

    copied: float
    by_one: float
    by_two: float


async def measure_receiver(directory: Path, plan: Plan) -> None:
    """Measure and print; `directory` holds the files of server and receivers."""
    bodies = [sent_by(sender, plan.batches) for sender in SENDERS]
    with started_server(directory) as server:
        rounds = [await one_round(server, directory, plan, bodies) for _ in range(plan.rounds)]
    print_rounds(rounds)


async def one_round(
    server: PostgresqlServer, directory: Path, plan: Plan, bodies: Sequence[Sequence[bytes]]
) -> Round:
    """Run the turns of a round, one after the other."""
    url = await server.new_database()
    by_one = await seconds_to_post(directory, url, 1, bodies)
    copied = await seconds_to_copy(await server.new_database(), await chunks_at(url, plan))
    by_two = await seconds_to_post(directory, await server.new_database(), 2, bodies)
    return Round(plan.events / copied, plan.events / by_one, plan.events / by_two)


def sent_by(sender: SimulatedAgent, batches: int) -> list[bytes]:
    """Return an agent's batches as request bodies."""
    firsts = range(1, batches * BATCH_EVENTS, BATCH_EVENTS)
    return [
        compressed_batch(sender, [event(sender, first + number) for number in range(BATCH_EVENTS)])
        for first in firsts
    ]


def compressed_batch(sender: SimulatedAgent, events: Sequence[Members]) -> bytes:
    """Return a batch as a request body."""
    return zstandard.compress(sender.batch(*events))


async def seconds_to_post(
    directory: Path, url: str, processes: int, bodies: Sequence[Sequence[bytes]]
) -> float:
    """Post all batches, one at a time per agent; return the elapsed seconds."""
    agents = await enroll_on(Postgresql(url), SENDERS, random.Random(1))
    async with AsyncExitStack() as parts:
        offices = [
            await parts.enter_async_context(receiver_process(directory / f"hq-{n}", database=url))
            for n in range(processes)
        ]
        ports = [await office.port() for office in offices]
        client = await parts.enter_async_context(aiohttp.ClientSession())
        started = time.monotonic()
        await asyncio.gather(
            *(
                post_all(client, ports[number % processes], agent, sent)
                for number, (agent, sent) in enumerate(zip(agents, bodies, strict=True))
            )
        )
        return time.monotonic() - started


async def post_all(
    client: aiohttp.ClientSession, port: int, agent: LoadAgent, bodies: Sequence[bytes]
) -> None:
    """Post one agent's batches."""
    url = f"http://127.0.0.1:{port}{BATCHES_PATH}"
    headers = {
        "Authorization": f"Bearer {agent.token}",
        "Content-Type": "application/json",
        "Content-Encoding": "zstd",
    }
    for body in bodies:
        async with client.post(url, data=body, headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()


async def chunks_at(url: str, plan: Plan) -> list[list[tuple[Rows, ...]]]:
    """Return the rows that a receiver inserted: by agent, batch and table."""
    tables = [await rows_at(url, f"SELECT * FROM {table} ORDER BY sequence") for table in TABLES]  # noqa: S608 - our own names
    assert sum(map(len, tables)) == plan.events, "not all was taken"
    half = BATCH_EVENTS // 2
    return [
        [
            tuple(rows[first : first + half] for rows in of_sender)
            for first in range(0, plan.batches * half, half)
        ]
        for sender in SENDERS
        for of_sender in [[[row for row in rows if row[0] == sender.store_id] for rows in tables]]
    ]


async def seconds_to_copy(url: str, chunks: Sequence[Sequence[tuple[Rows, ...]]]) -> float:
    """Copy the rows into empty tables; return the elapsed seconds."""
    database = Postgresql(url)
    await database.open()
    await database.close()
    async with AsyncExitStack() as parts:
        connections = [await connected(url, parts) for _ in chunks]
        started = time.monotonic()
        await asyncio.gather(*map(copy_all, connections, chunks))
        return time.monotonic() - started


async def connected(url: str, parts: AsyncExitStack) -> "asyncpg.Connection[asyncpg.Record]":
    """Return a connection with staging tables, closed with `parts`."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    parts.push_async_callback(connection.close)
    for table in TABLES:
        await connection.execute(
            f"CREATE TEMPORARY TABLE staged_{table} (LIKE {table}) ON COMMIT DELETE ROWS"
        )
    return connection


async def copy_all(
    connection: "asyncpg.Connection[asyncpg.Record]", chunks: Sequence[tuple[Rows, ...]]
) -> None:
    """Commit the batches one after the other."""
    for chunk in chunks:
        async with connection.transaction():
            for table, rows in zip(TABLES, chunk, strict=True):
                await connection.copy_records_to_table(f"staged_{table}", records=rows)
                await connection.execute(f"INSERT INTO {table} SELECT * FROM staged_{table}")  # noqa: S608 - our own names


def print_rounds(rounds: Sequence[Round]) -> None:
    """Print medians, and the median ratio of the rounds with its target."""
    for name in Round._fields:
        print(f"{name}: {statistics.median(getattr(one, name) for one in rounds):,.0f} events/s")
    for name, target, ratios in (
        ("one process / COPY", 0.45, [one.by_one / one.copied for one in rounds]),
        ("two processes / one", 1.5, [one.by_two / one.by_one for one in rounds]),
    ):
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name}: {statistics.median(ratios):.2f} (rounds {shown}; target {target})")
