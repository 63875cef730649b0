"""The answer to a capture that is on the disk, written in one piece.

Of such an answer only the body, the receipt, the request's id and the time differ from one to
the next. Making a dictionary of its headers, completing it, and writing that out would take a
till's answer a tenth of its time.
"""

from dataclasses import dataclass

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

from agent.api.headers import FOR_ALL, RECEIPT, REQUEST_ID
from agent.facts import Receipt

_JSON = {"Content-Type": "application/json"}
_HEAD = "HTTP/1.1 200 OK\r\n" + "".join(
    f"{name}: {value}\r\n" for name, value in (_JSON | FOR_ALL).items()
)


@dataclass(frozen=True, slots=True)
class Success:
    """A capture's answer, and the number under which it is kept."""

    body: bytes
    receipt: Receipt

    def whole(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse | None:
        """Return it written out; None where the answer depends on more of the request."""
        is_plain = request.version == HttpVersion11 and request.keep_alive
        return _Whole(self, request_id) if is_plain and hdrs.ORIGIN not in request.headers else None

    def response(self) -> web.Response:
        """Return it as an answer that is still to be completed."""
        return web.Response(body=self.body, headers=_JSON | {RECEIPT: str(self.receipt)})


class _Whole(web.StreamResponse):
    """Head and body as they go out, on a connection that is kept."""

    def __init__(self, success: Success, request_id: str) -> None:
        # This answer writes itself; the rest is what the library looks for in any answer.
        super().__init__()
        self._whole = (
            f"{_HEAD}{REQUEST_ID}: {request_id}\r\n{RECEIPT}: {success.receipt}\r\n"
            f"Content-Length: {len(success.body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
        ).encode("ascii") + success.body

    @property
    def keep_alive(self) -> bool:
        """Yes: the next request may come on the same connection."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Write it, in one packet where it fits."""
        await request.writer.write(self._whole)
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
