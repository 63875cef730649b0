"""Answers while the agent cannot start: they are errors of the till API as all others."""

import asyncio
import contextlib
import socket

from agent.api.out_of_service import refuse
from tests.agent.api.test_server import HEADERS, UUID
from tests.support.raw_http import exchange


async def test_refusal_has_the_headers_of_every_answer_and_says_when_to_retry() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    refusing = asyncio.create_task(refuse([listening], 60.0, "no key file: ünlucky"))

    [answer] = await exchange("127.0.0.1", port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1)

    refusing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await refusing
    assert (answer.status, answer.members()["errorCode"]) == (503, "UNAVAILABLE")
    assert answer.header("Loyalty-Reason") == r"no key file: \xfcnlucky"
    assert answer.header("Retry-After") == "1"
    assert UUID.fullmatch(answer.header("x-amzn-RequestId") or "")
    assert {name: answer.header(name) for name in HEADERS} == HEADERS


async def test_body_that_trickles_in_does_not_delay_the_next_attempt() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    refusing = asyncio.create_task(refuse([listening], 0.2, "no key file"))
    reader, till = await asyncio.open_connection(*listening.getsockname())
    till.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    await reader.readuntil(b"\r\n\r\n")

    await asyncio.wait_for(refusing, 5.0)

    till.close()


async def test_request_with_large_cookies_is_told_the_reason_as_well() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    port: int = listening.getsockname()[1]
    refusing = asyncio.create_task(refuse([listening], 60.0, "no key file"))
    cookies = b"Cookie: a=" + b"x" * 60_000

    [answer] = await exchange(
        "127.0.0.1", port, b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % cookies, 1
    )

    refusing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await refusing
    assert (answer.status, answer.header("Loyalty-Reason")) == (503, "no key file")
