"""One HTTP connection of a server: aiohttp's, with limits that it lacks.

aiohttp's parser limits neither the size of a whole head nor that of trailers and chunk extensions,
and its connections have no deadline for a head. The deadlines are those of `connections`.
"""

import asyncio
from collections.abc import Callable
from typing import TypeAlias, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.web_protocol import _ErrInfo

from sync.runtime.network.connections import Connection, ConnectionTable, Phase
from sync.runtime.network.request_head import (
    MAX_FIELD_BYTES,
    MAX_HEAD_BYTES,
    LargeHead,
    RequestHead,
)

# A connection buffers about twice this of an unread body: before its sender is authenticated,
# and so outside of any memory budget.
_UNREAD_BYTES = 32 * 1024
# For how long what follows a broken request is read and discarded.
_DISCARDING_SECONDS = 2.0
# Takes the request, the HTTP status and the parser's error.
AnswerBroken: TypeAlias = Callable[[web.BaseRequest, int, BaseException | None], web.StreamResponse]


class HttpConnection(web.RequestHandler):
    """A connection that keeps its entry in the `ConnectionTable` up to date.

    A request that is not valid HTTP is answered by `answer_broken`.
    """

    __slots__ = (
        "_answer_broken",
        "_content",
        "_entry",
        "_framing_bytes",
        "_head",
        "_is_broken",
        "_lost",
        "_newest",
        "_now",
        "_on_lost",
        "_table",
    )

    def __init__(
        self,
        server: web.Server,
        table: ConnectionTable,
        answer_broken: AnswerBroken,
        on_lost: Callable[[], None],
        entry: Connection,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            # The same limit as in the table, which also has those that aiohttp lacks.
            keepalive_timeout=table.limits.idle_seconds,
            # An access log would double the cost of a till's request. None is documented.
            access_log=None,  # type: ignore[arg-type]
            # The APIs decompress bodies themselves, with a limit for their size.
            auto_decompress=False,
            read_bufsize=_UNREAD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
        )
        self._head = RequestHead()
        self._is_broken = False
        self._lost: asyncio.Future[None] | None = None
        # Bytes since the newest request's body last grew: trailers, chunk extensions.
        self._framing_bytes = 0
        # The body of the newest request that has arrived; `_content` is that of the one answered.
        self._newest: StreamReader = EMPTY_PAYLOAD
        self._answer_broken = answer_broken
        self._table = table
        self._on_lost = on_lost
        self._entry = entry
        self._now = loop.time
        self._content: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection."""
        super().connection_made(transport)
        writing = cast("asyncio.Transport", transport)
        self._entry.abort, self._entry.unsent = writing.abort, writing.get_write_buffer_size
        self._entry.is_receiving = self._is_receiving

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give up the connection."""
        self._table.remove(self._entry)
        super().connection_lost(exc)
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """Note the first byte of a head; the rest of an unread body is none."""
        if self._entry.phase is Phase.IDLE and data and not self._is_receiving():
            self._entry.enter(Phase.HEAD, self._now())
        if self._is_broken:
            return
        if self._newest.is_eof():
            self._parse(self._head.receive(data))
        else:
            self._receive_body(self._newest, data)

    def _receive_body(self, body: StreamReader, data: bytes) -> None:
        """Pass on a part of a body; end a connection that sends much without adding to the body."""
        before = body.total_bytes
        self._parse(data)
        self._framing_bytes = self._framing_bytes + len(data) if body.total_bytes == before else 0
        if self._framing_bytes > MAX_HEAD_BYTES:
            self._entry.abort()

    def _parse(self, data: bytes) -> None:
        """Pass on `data`, and look at the newest request. aiohttp has no public way to it."""
        before = self._request_count
        super().data_received(data)
        if self._request_count != before and self._messages:
            message, self._newest = self._messages[-1]
            # The parser would fail again with each further piece, and keep it with its error.
            self._is_broken = isinstance(message, _ErrInfo)
            self._head.begin()
            self._framing_bytes = 0

    def pause_writing(self) -> None:
        """Note that the peer does not read."""
        self._entry.pause_writing(self._now())
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the peer reads again."""
        self._entry.resume_writing(self._now())
        super().resume_writing()

    def begin(self, request: web.BaseRequest) -> None:
        """Note that a request is being answered."""
        self._content = request.content
        self._entry.enter(Phase.ACTIVE, self._now())

    @property
    def is_to_end(self) -> bool:
        """True if other connections need the place after this response."""
        return self._table.is_to_end(self._entry)

    def end(self) -> None:
        """Note that the response is complete; it may not be sent yet."""
        self._entry.enter(Phase.IDLE, self._now())

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response; after a broken request wait until the peer has read it.

        Closed while the peer still sends, the connection would be reset, and the response lost.
        """
        finished = await super().finish_response(request, resp, start_time)
        transport = self.transport
        if self._is_broken and not self._messages and transport and transport.can_write_eof():
            transport.write_eof()
            self._lost = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._lost], timeout=_DISCARDING_SECONDS)
        return finished

    def _is_receiving(self) -> bool:
        return not self._content.is_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the signature is aiohttp's
    ) -> web.StreamResponse:
        """Answer a request that is not valid HTTP."""
        return self._answer_broken(request, status, LargeHead() if self._head.is_too_large else exc)
