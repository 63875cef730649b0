"""Answers benchmark: thousands of answers to one session, in a batch, on both databases.

While head office stores them, `/healthz` is requested one time after another: no request waits for
the batch. The second batch finds the answers of the first; the third is the first one again, from
a new epoch.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from sync.receiver.config import DATABASE_FILE
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.sqlite import SqliteFile
from tests.bench.receiver import compressed_batch, post_all
from tests.support.head_office.load import LoadAgent, enroll_on
from tests.support.head_office.messages import Members, SimulatedAgent, answer, session, wire_time
from tests.support.head_office.postgresql import started_server
from tests.support.head_office.process import ReceiverProcess, receiver_process

ANSWERS = 10_000
TARGET_SECONDS, TARGET_HEALTH_SECONDS = 1.0, 0.1
SENDER = SimulatedAgent()
SESSION = "probe"


class Measured(NamedTuple):
    """One batch: its time, processor time of the receiver, and the longest wait of `/healthz`."""

    name: str
    seconds: float
    processor_seconds: float
    longest_health_seconds: float


def batches(answers: int) -> dict[str, bytes]:
    """Return the batches of a round, by name."""
    first = [session(1, SESSION), *(probe_answer(number) for number in range(2, answers + 1))]
    second = [probe_answer(number) for number in range(answers + 1, 2 * answers + 1)]
    later = SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    return {
        "first": compressed_batch(SENDER, first),
        "second": compressed_batch(SENDER, second),
        "first again": compressed_batch(later, first),
    }


def probe_answer(number: int) -> Members:
    """Return an answer of the same moment that differs by a member and by its address."""
    body = {"emailAddress": f"g{number}@example.com", "status": "accepted", "note": f"n{number}"}
    return answer(number, SESSION, body=body, occurredAt=wire_time())


async def measure_answers(directory: Path, answers: int, rounds: int) -> bool:
    """Measure and print; return whether the targets were met."""
    measured: list[Measured] = []
    with started_server(directory) as server:
        for number in range(rounds):
            office = directory / f"hq-{number}"
            measured += await one_round("SQLite", office, answers)
            url = await server.new_database()
            measured += await one_round("PostgreSQL", office, answers, url)
    print(f"the least of {rounds} rounds, {answers:,} answers in each batch")
    print(f"{'':<24}{'seconds':>10}{'processor':>12}{'/healthz ms':>14}")
    names = dict.fromkeys(one.name for one in measured)
    is_met = [print_least([one for one in measured if one.name == name]) for name in names]
    return all(is_met)


async def one_round(kind: str, directory: Path, answers: int, url: str = "") -> list[Measured]:
    """Post the batches one after another to a new receiver."""
    database = Postgresql(url) if url else SqliteFile(directory / DATABASE_FILE)
    [agent] = await enroll_on(database, [SENDER], random.Random(1))
    async with (
        receiver_process(directory, database=url) as office,
        aiohttp.ClientSession() as client,
    ):
        port = await office.port()
        return [
            await measure_batch(f"{kind}, {name}", office, client, port, agent, body)
            for name, body in batches(answers).items()
        ]


async def measure_batch(
    name: str,
    office: ReceiverProcess,
    client: aiohttp.ClientSession,
    port: int,
    agent: LoadAgent,
    body: bytes,
) -> Measured:
    """Post a batch while `/healthz` is watched."""
    async with watched_health(client, port) as waits:
        processor, began = processor_seconds(office.pid), time.monotonic()
        await post_all(client, port, agent, [body])
        seconds = time.monotonic() - began
        processor = processor_seconds(office.pid) - processor
    return Measured(name, seconds, processor, max(waits))


@asynccontextmanager
async def watched_health(client: aiohttp.ClientSession, port: int) -> AsyncIterator[list[float]]:
    """Request `/healthz` again and again while the block runs; collect the waits in seconds."""
    waits: list[float] = []

    async def watch() -> None:
        while True:
            began = time.monotonic()
            async with client.get(f"http://127.0.0.1:{port}/healthz") as response:
                response.raise_for_status()
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.005)

    watching = asyncio.ensure_future(watch())
    try:
        yield waits
    finally:
        watching.cancel()


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def print_least(measured: Sequence[Measured]) -> bool:
    """Print the least of each figure; return whether it meets its target."""
    seconds = min(one.seconds for one in measured)
    processor = min(one.processor_seconds for one in measured)
    health = min(one.longest_health_seconds for one in measured)
    print(f"{measured[0].name:<24}{seconds:>10.2f}{processor:>12.2f}{health * 1000:>14.0f}")
    return seconds < TARGET_SECONDS and health < TARGET_HEALTH_SECONDS
