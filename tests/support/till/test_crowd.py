"""Simulated tills parse, count and doubt a server's answers correctly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.till.crowd import CaptureAnswer, Crowd
from tests.support.till.requests import (
    Kind,
    MalformedResponseError,
    Response,
    fresh_pair,
    fresh_pairs,
    parse_response,
)
from tests.support.till.tally import Tally

SAID = b"HTTP/1.1 200 OK\r\nCONTENT-length: 2\r\nloyalty-Receipt: e/7\r\n\r\n{}"


@asynccontextmanager
async def server_that_says(said: bytes) -> AsyncIterator[int]:
    """Serve on a free port; answer each read with the same bytes, or close if there are none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said and await reader.read(65536):
            writer.write(said)
        if not said:
            await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_response_in_pieces_is_parsed_once_it_is_complete() -> None:
    """Every prefix is incomplete; header names match in any case."""
    assert {parse_response(SAID[:cut]) for cut in range(len(SAID))} == {None}
    assert parse_response(SAID) == Response(200, b"{}", "e/7")


@pytest.mark.parametrize(
    "said", [SAID + b"more", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"\r\n\r\n"]
)
def test_response_without_exact_length_is_malformed(said: bytes) -> None:
    """A till must not take it for an acknowledgement."""
    with pytest.raises(MalformedResponseError):
        parse_response(said)


async def test_till_goes_on_with_next_customer_after_refused_session() -> None:
    """Two customers, two refusals, no e-mail answer sent."""
    refused: list[CaptureAnswer] = []
    said = b"HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n"
    async with server_that_says(said) as port:
        crowd = Crowd("127.0.0.1", port, pairs=fresh_pairs(2), on_refused=refused.append)
        await crowd.open(1)
        assert await crowd.finished(timeout_seconds=5)
    assert [(answer.kind, answer.status) for answer in refused] == [(Kind.SESSION, 507)] * 2


async def test_unanswered_request_is_in_doubt() -> None:
    """The server closes the connection: the capture may be recorded or not."""
    pair = fresh_pair()
    async with server_that_says(b"") as port:
        crowd = Crowd("127.0.0.1", port, pairs=iter([pair]))
        await crowd.open(1)
        assert await crowd.finished(timeout_seconds=5)
    assert [question.pair for question in crowd.in_doubt] == [pair]


async def test_endless_crowd_stops_on_close() -> None:
    """Requests in flight are answered first."""
    acknowledged: list[CaptureAnswer] = []
    seen = asyncio.Event()

    def note(answer: CaptureAnswer) -> None:
        acknowledged.append(answer)
        seen.set()

    async with server_that_says(SAID) as port:
        crowd = Crowd("127.0.0.1", port, on_acknowledged=note)
        await crowd.open(2)
        await seen.wait()
        await crowd.close(timeout_seconds=5)
    assert not crowd.in_doubt
    assert {answer.receipt for answer in acknowledged} == {"e/7"}


def test_wrong_length_and_missing_receipt_are_reported() -> None:
    """The capture benchmark fails on these."""
    tally = Tally(receipts=True)
    tally.acknowledged(CaptureAnswer(Kind.EMAIL, "c", 200, 34, None, 0.0, 0.0))
    assert len(tally.failures) == 2
