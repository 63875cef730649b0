"""The receiver under overload, on real sockets: well-behaved agents are still served."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import cycle, islice
from pathlib import Path

import asyncpg
import pytest
import zstandard

from sync.protocol.wire import BATCHES_PATH, HEARTBEATS_PATH
from sync.receiver.admission import tarpit
from sync.receiver.admission.memory_budget import (
    MAX_BYTES,
    MAX_REQUESTS_PER_AGENT,
    MIB,
    REQUEST_BYTES,
)
from sync.receiver.admission.receive import MAX_BODY_BYTES
from tests.support.head_office.messages import SimulatedAgent, session, sessions
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.receiver import (
    Receiver,
    receiver_under_test,
    settings_in,
)
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse, read_response
from tests.sync.receiver.conftest import StartReceiver

SENT = "SELECT sequence FROM sessions ORDER BY sequence"
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class Line:
    """A connection for sending a request as slowly as the test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, some: bytes) -> None:
        """Send some bytes."""
        self._writer.write(some)
        await self._writer.drain()

    async def answer(self) -> HttpResponse:
        """Wait for the response."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await read_response(self._reader, with_body=True)

    def cut(self) -> None:
        """Abort the connection."""
        self._writer.transport.abort()


@asynccontextmanager
async def lines(
    receiver: Receiver, senders: Iterable[SimulatedAgent], head: str, path: str = BATCHES_PATH
) -> AsyncIterator[Sequence[Line]]:
    """Start a request of each agent with these headers; abort the connections at exit."""
    opened = []
    try:
        for sender in senders:
            token = receiver.tokens[sender.store_id, sender.till_id]
            where = receiver.address.host, receiver.address.port
            line = Line(*await asyncio.open_connection(*where))
            opened.append(line)
            named = f"Host: hq\r\nAuthorization: Bearer {token}\r\n{head}"
            await line.send(f"POST {path} HTTP/1.1\r\n{named}\r\n\r\n".encode())
        yield opened
    finally:
        for line in opened:
            line.cut()


async def enrolled_agents(receiver: Receiver, count: int) -> list[SimulatedAgent]:
    """Return `count` enrolled agents."""
    senders = [SimulatedAgent("0043", f"till-{number}") for number in range(count)]
    for sender in senders:
        await receiver.enroll(sender)
    return senders


async def first_answers(opened: Sequence[Line], count: int) -> list[HttpResponse]:
    """Return the first `count` responses on any of these connections."""
    waiting = [asyncio.ensure_future(line.answer()) for line in opened]
    try:
        return [await answer for answer in islice(asyncio.as_completed(waiting), count)]
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)


async def until_reserved(receiver: Receiver, least: int, most: int) -> None:
    """Poll until the reserved bytes are between `least` and `most`."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not least <= receiver.address.budget.reserved_bytes <= most:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.001)


@pytest.mark.slow
async def test_fifty_dripping_senders_do_not_block_a_healthy_one(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    receiver = await start_receiver(intake={"max_in_flight": 1})
    await receiver.enroll(till)
    senders = await enrolled_agents(receiver, 50)
    async with lines(receiver, senders, "Content-Length: 100000") as dripping:
        for line in dripping:
            await line.send(b"{")
        await until_reserved(receiver, 50 * 100_000, MAX_BYTES)

        answers = [await receiver.send(till, session(1)), await receiver.heartbeat(till)]

    assert [answer.status for answer in answers] == [200, 200]


async def test_senders_that_announce_large_bodies_do_not_block_small_ones(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    senders = await enrolled_agents(receiver, MAX_BYTES // MAX_BODY_BYTES)
    async with lines(receiver, senders, f"Content-Length: {MAX_BODY_BYTES}"):
        await until_reserved(receiver, MAX_BYTES // 2, MAX_BYTES)

        answer = await receiver.send(till, session(1))

    assert answer.status == 200


@pytest.mark.slow
async def test_requests_beyond_the_memory_budget_are_429_with_retry_after(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    """Each reserves its announced length plus the fixed cost of a request: 1 MiB together."""
    budget, fitting = receiver.address.budget, MAX_BYTES // MIB
    head = f"Content-Length: {MIB - REQUEST_BYTES}"
    senders = await enrolled_agents(receiver, fitting // MAX_REQUESTS_PER_AGENT + 3)
    requests = islice(cycle(senders), fitting + 20)
    async with lines(receiver, requests, head) as opened:
        await until_reserved(receiver, MAX_BYTES, MAX_BYTES)
        answers = await first_answers(opened, 20)
        most = budget.reserved_bytes

    await until_reserved(receiver, 0, 0)
    assert most == MAX_BYTES
    assert {answer.status for answer in answers} == {429}
    assert all(int(answer.header("Retry-After") or 0) > 0 for answer in answers)


async def test_endless_body_is_413(receiver: Receiver, till: SimulatedAgent) -> None:
    piece = b"100000\r\n" + b" " * MIB + b"\r\n"
    async with lines(receiver, [till], "Transfer-Encoding: chunked") as (line,):
        answer = asyncio.ensure_future(line.answer())
        while not answer.done():
            await line.send(piece)

        assert answer.result().status == 413


async def test_oversized_heartbeat_is_413(receiver: Receiver, till: SimulatedAgent) -> None:
    head = f"Content-Length: {MIB + 1}"
    async with lines(receiver, [till], head, HEARTBEATS_PATH) as (line,):
        assert (await line.answer()).status == 413


async def test_interrupted_sender_retries_and_loses_nothing(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    batch = till.batch(*sessions(1, 3))
    async with lines(receiver, [till], f"Content-Length: {len(batch)}") as (line,):
        await line.send(batch[:-1])
        await until_reserved(receiver, len(batch), MAX_BYTES)
    await until_reserved(receiver, 0, 0)
    before = receiver.rows(SENT)

    answer = await receiver.send(till, *sessions(1, 3))

    assert answer.members()["acceptedThrough"] == 3
    assert (before, receiver.rows(SENT)) == ([], [(1,), (2,), (3,)])


async def test_heartbeats_are_served_while_batches_hold_all_slots(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    """One store's batch waits in the database; other stores must not appear silent."""
    url = await postgresql_server.new_database()
    settings = settings_in(tmp_path, database={"url": url}, intake={"max_in_flight": 1})
    tool = await asyncpg.connect(url.replace("+asyncpg", ""))
    async with receiver_under_test(settings) as receiver:
        other = SimulatedAgent("0043")
        await receiver.enroll(till)
        await receiver.enroll(other)
        await receiver.send(till, session(1))
        async with tool.transaction():
            await tool.execute("SELECT * FROM agents FOR UPDATE")
            batch = asyncio.ensure_future(receiver.send(till, session(2)))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await tool.fetchval(_WAITING):  # noqa: ASYNC110 - the server sends no event
                    await asyncio.sleep(0.01)

            heartbeat = await receiver.heartbeat(other)

        delayed = await batch
    await tool.close()

    assert (heartbeat.status, delayed.status) == (200, 200)


async def test_large_batch_of_one_store_turns_no_other_store_away(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    receiver = await start_receiver(intake={"events_per_second": 10})
    (hog,) = await enrolled_agents(receiver, 1)
    await receiver.enroll(till)

    answers = [await receiver.send(hog, *sessions(1, 500)) for _ in range(2)]
    other = await receiver.send(till, session(1))

    assert [answer.status for answer in answers] == [200, 429]
    assert int(answers[1].header("Retry-After") or 0) > 10
    assert other.status == 200


async def test_batches_that_fail_do_not_use_up_the_rate_of_other_stores(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    receiver = await start_receiver(intake={"events_per_second": 10})
    failing = await enrolled_agents(receiver, 8)
    await receiver.enroll(till)

    gaps = [await receiver.send(one, *sessions(5000, 5500)) for one in failing]
    other = await receiver.send(till, session(1))

    assert {gap.status for gap in gaps} == {409}
    assert other.status == 200


async def test_refusals_of_one_store_put_off_no_other_store(
    start_receiver: StartReceiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker's refused requests once made another store be told to wait half an hour."""
    monkeypatch.setattr(tarpit, "HOLD_SECONDS", 0)
    receiver = await start_receiver(intake={"events_per_second": 10, "max_in_flight": 1})
    hog, *others = await enrolled_agents(receiver, 10)
    await receiver.enroll(till)

    await receiver.send(hog, *sessions(1, 500))
    refused = [await receiver.send(hog, session(501)) for _ in range(200)]
    busy = [await receiver.send(one, *sessions(1, 50)) for one in others]
    last = await receiver.send(till, session(1))

    assert {answer.status for answer in refused} == {429}
    assert {answer.status for answer in (*busy, last)} <= {200, 429}
    # Behind the batches of the nine others; behind the refused ones it was 2,661.
    assert int(last.header("Retry-After") or 0) <= 300


async def test_agent_that_decodes_too_much_waits_and_others_do_not(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    (hog,) = await enrolled_agents(receiver, 1)
    await receiver.enroll(till)
    content = random.Random(1).randbytes(MIB // 2).ljust(MAX_BODY_BYTES + MIB, b"\0")
    bomb = zstandard.compress(content)

    statuses = [
        (await receiver.post(BATCHES_PATH, bomb, hog, Content_Encoding="zstd")).status
        for _ in range(3)
    ]
    other = await receiver.send(till, session(1))

    assert statuses == [413, 429, 429]
    assert other.status == 200


async def test_requests_of_one_agent_at_a_time_are_bounded(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    head = "Content-Length: 1000"
    async with lines(receiver, [till] * (MAX_REQUESTS_PER_AGENT + 5), head) as opened:
        answers = await first_answers(opened, 5)

    assert {answer.status for answer in answers} == {429}
    assert {answer.header("Retry-After") for answer in answers} == {"5"}
