"""Streamed responses: a reader that leaves is no fault of head office, a failing database is."""

from collections.abc import AsyncIterator
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import ClientConnectionResetError
from aiohttp.test_utils import make_mocked_request

from sync.receiver.read_api import stream_json


def writer_that(error: Exception | None = None) -> Mock:
    """Return the connection's writer; `error` is raised when a chunk is written."""
    writer = Mock()
    writer.write_headers, writer.write_eof = AsyncMock(), AsyncMock()
    writer.write = AsyncMock(side_effect=error)
    return writer


async def chunks_then(error: Exception | None = None) -> AsyncIterator[bytes]:
    yield b"{"
    if error is not None:
        raise error
    yield b"}"


@pytest.mark.parametrize("error", [ClientConnectionResetError("gone"), TimeoutError()])
async def test_reader_that_leaves_or_stalls_is_disconnected_without_an_error(
    error: Exception,
) -> None:
    """Each closed browser tab was logged and counted as an outage of the database (503)."""
    transport, writer = Mock(), writer_that(error)
    request = make_mocked_request("GET", "/v1/stores", transport=transport, writer=writer)

    await stream_json(request, chunks_then())

    transport.abort.assert_called_once_with()


async def test_error_of_the_database_cuts_the_connection_and_is_raised() -> None:
    transport = Mock()
    request = make_mocked_request("GET", "/v1/stores", transport=transport, writer=writer_that())

    with pytest.raises(TimeoutError):
        await stream_json(request, chunks_then(TimeoutError()))

    transport.abort.assert_called_once_with()
