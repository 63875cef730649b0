"""Requests as tills, probes and gateways really send them, at both programs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from sync.protocol.wire import BATCHES_PATH
from tests.support.agent.in_process import SESSIONS, Agent, agent_under_test, settings_in
from tests.support.head_office import receiver
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import Receiver
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse, read_response

BOM = b"\xef\xbb\xbf"
KIB = 1024
TILL = SimulatedAgent("0042", "till-1")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_under_test(settings_in(tmp_path / "agent")) as running:
        yield running


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with receiver.receiver_under_test(receiver.settings_in(tmp_path / "hq")) as running:
        await running.enroll(TILL)
        yield running


async def send_in_parts(port: int, parts: list[bytes]) -> HttpResponse:
    """Send a request in pieces that arrive one by one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(read_response(reader, with_body=True))
    try:
        # The server may answer and close before all is sent.
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        return await answer
    finally:
        answer.cancel()
        writer.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_probe_without_a_host_header_is_answered(
    agent: Agent, office: Receiver, path: str, version: str, method: str
) -> None:
    probe = f"{method} {path} HTTP/{version}\r\nUser-Agent: probe\r\n\r\n".encode()

    [at_agent] = await agent.send_raw(probe)
    at_office = await office.send_raw(probe)

    assert (at_agent.status, at_office.status) == (200, 200)


async def test_probe_without_a_host_header_may_arrive_line_by_line(
    agent: Agent, office: Receiver
) -> None:
    """As a shell script writes it."""
    lines = [b"GET /healthz HTTP/1.1\r\n", b"User-Agent: probe\r\n", b"\r", b"\n"]

    for port in (agent.address.port, office.address.port):
        assert (await send_in_parts(port, lines)).status == 200


async def test_probe_may_have_its_host_header_behind_large_cookies(agent: Agent) -> None:
    head = [b"GET /readyz HTTP/1.1\r\n", b"Cookie: a=" + b"x" * 9 * KIB, b"\r\n"]

    answer = await send_in_parts(agent.address.port, [*head, b"Host: localhost\r\n", b"\r\n"])

    assert answer.status == 200


async def test_other_paths_of_the_agent_still_need_a_host_header(agent: Agent) -> None:
    for path in ("/", "/agent/v1/status", "/healthz/", "/healthzz"):
        [old] = await agent.send_raw(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        [new] = await agent.send_raw(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        assert (old.status, new.status) == (403, 400)


async def test_probe_with_a_foreign_host_is_refused_as_before(agent: Agent) -> None:
    [answer] = await agent.send_raw(b"GET /healthz HTTP/1.1\r\nHost: evil.test\r\n\r\n")

    assert answer.status == 403


async def test_cookies_of_64_kib_are_accepted(agent: Agent, office: Receiver) -> None:
    body = b'{"correlationId":"x"}'
    one = b"Cookie: a=%b\r\n" % (b"x" * 60 * KIB)
    several = b"".join(b"Cookie-%d: %b\r\n" % (i, b"x" * 8 * KIB) for i in range(7))

    for cookies in (one, several):
        head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n"
        [answer] = await agent.send_raw(head % (SESSIONS.encode(), cookies, len(body)) + body)
        probe = b"GET /readyz HTTP/1.1\r\nHost: hq\r\n%b\r\n" % cookies
        assert (answer.status, (await office.send_raw(probe)).status) == (200, 200)


@pytest.mark.parametrize("kibibytes", [1, 70], ids=["many fields", "one field"])
async def test_larger_head_is_refused_with_its_size_before_it_is_complete(
    agent: Agent, office: Receiver, kibibytes: int
) -> None:
    field = b"X: " + b"x" * kibibytes * KIB + b"\r\n"
    parts = [b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n", *[field] * (126 // kibibytes)]

    for port in (agent.address.port, office.address.port):
        # The head has no end.
        answer = await asyncio.wait_for(send_in_parts(port, parts), PATIENCE_SECONDS)
        assert (answer.status, sorted(answer.members())) == (
            400,
            ["errorCode", "errorMessage", "statusCode"],
        )
    reason = str((await send_in_parts(agent.address.port, parts)).header("Loyalty-Reason"))
    assert "64 KiB" in reason or "65536 bytes" in reason


async def test_large_body_is_no_large_head_wherever_its_head_is_cut(office: Receiver) -> None:
    body = TILL.batch(session(1), padding="x" * 300 * KIB)
    token = office.tokens[TILL.store_id, TILL.till_id]
    head = (
        f"POST {BATCHES_PATH} HTTP/1.1\r\nHost: hq\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()

    for cut in (len(head) - 3, len(head) - 2, len(head) - 1, len(head), len(head) + 1):
        request = head + body
        answer = await send_in_parts(office.address.port, [request[:cut], request[cut:]])
        assert answer.status == 200


async def test_byte_order_mark_before_a_body_is_ignored_at_head_office(office: Receiver) -> None:
    batch = await office.post(BATCHES_PATH, BOM + TILL.batch(session(1)), TILL)
    heartbeat = await office.post("/sync/v1/heartbeats", BOM + TILL.heartbeat(), TILL)
    join = await office.request("POST", "/sync/v1/join", BOM + json.dumps({"code": "x"}).encode())

    assert (batch.status, heartbeat.status) == (200, 200)
    assert "JSON" not in join.body.decode()
