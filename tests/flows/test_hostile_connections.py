"""A hostile peer opens more connections than the process has descriptors: others are served."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync.receiver.auth.readers_token import FILE_NAME
from tests.support.agent.process import AGENT, agent_process
from tests.support.head_office.process import HQ, receiver_process
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse, exchange, read_response

DESCRIPTORS = 256
CONNECTIONS = 2 * DESCRIPTORS
_FEW_DESCRIPTORS = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")
pytestmark = pytest.mark.process


@contextmanager
def hostile_peer(port: int, sent: bytes) -> Iterator[None]:
    """Hold many connections on which only `sent` was sent."""
    opened = []
    try:
        for _ in range(CONNECTIONS):
            one = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
            opened.append(one)
            one.sendall(sent)
        yield
    finally:
        for one in opened:
            one.close()


async def asked(port: int, request: bytes) -> HttpResponse:
    async with asyncio.timeout(PATIENCE_SECONDS):
        (answer,) = await exchange("127.0.0.1", port, request, 1)
    return answer


def get(path: str, header: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode()


def capture(correlation_id: str) -> bytes:
    body = f'{{"correlationId":"{correlation_id}","channel":"pos"}}'
    path = "/client/users/anonymous/sessions"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


async def test_agent_captures_while_more_connections_are_held_than_descriptors(
    tmp_path: Path,
) -> None:
    program = (*_FEW_DESCRIPTORS, *AGENT)
    statuses = []
    async with agent_process(tmp_path / "agent", program=program) as agent:
        port = await agent.ready()
        for kind, sent in enumerate((b"", b"POST /x", get("/healthz"), capture("evil")[:-1])):
            with hostile_peer(port, sent):
                answers = [await asked(port, capture(f"till-{kind}-{n}")) for n in range(3)]
                status = await asked(port, get("/agent/v1/status"))
            statuses += [answer.status for answer in (*answers, status)]
            assert status.members()["storage"]["state"] == "ready"  # type: ignore[index]

    assert statuses == [200] * 16
    assert not (tmp_path / "agent" / "set-aside").exists()


async def test_head_office_answers_while_more_connections_are_held_than_descriptors(
    tmp_path: Path,
) -> None:
    statuses = []
    async with receiver_process(tmp_path / "hq", (*_FEW_DESCRIPTORS, *HQ)) as receiver:
        port = await receiver.port()
        token = (tmp_path / "hq" / FILE_NAME).read_text().strip()
        requests = (get("/healthz"), get("/v1/stores", f"Authorization: Bearer {token}\r\n"))
        for sent in (b"", b"POST /x", get("/healthz")):
            with hostile_peer(port, sent):
                statuses += [(await asked(port, one)).status for one in requests]

    assert statuses == [200] * 6


async def test_capture_is_recorded_while_the_agent_can_open_no_file(tmp_path: Path) -> None:
    """Not a fault of the disk: nothing is closed, set aside or renumbered."""
    async with agent_process(tmp_path / "agent") as agent:
        port = await agent.ready()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def ask(request: bytes) -> HttpResponse:
            writer.write(request)
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await read_response(reader, with_body=True)

        first = await ask(capture("before"))
        limits = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
        during = [await ask(one) for one in (capture("during"), get("/agent/v1/status"))]
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, limits)
        last = await ask(capture("after"))
        writer.close()

    epoch = (first.receipt or "").partition("/")[0]
    receipts = [one.receipt for one in (first, during[0], last)]
    assert receipts == [f"{epoch}/{number}" for number in (1, 2, 3)]
    assert during[1].members()["storage"]["state"] == "ready"  # type: ignore[index]
    assert not (tmp_path / "agent" / "set-aside").exists()
