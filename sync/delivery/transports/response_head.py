"""Reads response heads that gateways send and aiohttp rejects.

aiohttp accepts 8 KiB a line and 128 lines, has no limit for the whole head, and rejects a repeated
Content-Length. Here each limit is higher, the whole head is bounded, and it is normalized as RFC
9112 defines before the parser gets it.
"""

import asyncio
import re
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

MAX_LINE_BYTES = 64 * 1024
MAX_LINES = 1_000
# Of all heads of one response: any number of interim ones (1xx) may come first.
MAX_HEAD_BYTES = 256 * 1024
# More than any body that is read whole: what is above comes in trailers, or in chunks of a byte.
MAX_WIRE_BYTES = 4 * 1024 * 1024
_PARSER_LIMITS = {
    "max_line_size": MAX_LINE_BYTES,
    "max_field_size": MAX_LINE_BYTES,
    "max_headers": MAX_LINES,
}
_END = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)")
_FRAMING = re.compile(rb"(?im)^(?:content-length|transfer-encoding):[^\n]*")
_SEVERAL = 2
_LENGTH, _CODING = b"content-length:", b"transfer-encoding:"


class UnusableResponse(aiohttp.ClientError):
    """A response, usually its head, cannot be used. The message does not quote it."""


_LONG_LINE = f"a response header of more than {MAX_LINE_BYTES // 1024} KiB"
_MANY_LINES = f"more than {MAX_LINES:,} response headers"
_LARGE_HEAD = f"response headers of more than {MAX_HEAD_BYTES // 1024} KiB in all"
_LARGE_RESPONSE = f"a response of more than {MAX_WIRE_BYTES // 1024**2} MiB"
_LENGTHS_DIFFER = "a response header that names different lengths (Content-Length)"


class BoundedConnector(aiohttp.TCPConnector):
    """Connections that read heads as above, those of a proxy's answer to CONNECT included."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - those of the library
        """Take the options of `TCPConnector`. Call within the event loop."""
        super().__init__(**options)
        reader: type[ResponseHandler] = _HeadReader
        # aiohttp has no public way to choose the protocol; tests fail if this one goes.
        self._factory = partial(reader, loop=asyncio.get_running_loop())


class _HeadReader(ResponseHandler):
    """Passes on each head once it is complete, and the body as it arrives."""

    # The part of a head that has arrived; None outside of a head.
    _head: bytearray | None = None
    _passed_bytes = 0
    _received_bytes = 0
    _is_refused = False

    def set_response_params(self, **params: Any) -> None:  # noqa: ANN401 - those of the library
        """Expect a new response."""
        self._head, self._passed_bytes, self._received_bytes = bytearray(), 0, 0
        super().set_response_params(**(params | _PARSER_LIMITS))

    def data_received(self, data: bytes) -> None:
        """Pass on what is complete; end the connection after an unusable head."""
        if self._is_refused:
            return
        self._received_bytes += len(data)
        if self._received_bytes > MAX_WIRE_BYTES:
            self._refuse(UnusableResponse(_LARGE_RESPONSE))
            return
        try:
            ready = data if self._head is None else self._read_heads(self._head, data)
        except UnusableResponse as error:
            self._refuse(error)
            return
        if ready or not data:  # without data aiohttp goes on with what it has
            super().data_received(ready)

    def _refuse(self, error: UnusableResponse) -> None:
        self._is_refused = True
        if self._payload is not None:
            self._payload.set_exception(error)
        self.set_exception(error)
        if self.transport is not None:
            self.transport.close()

    def _read_heads(self, head: bytearray, data: bytes) -> bytes:
        """Add `data` to the head; return what is complete: heads, and what follows the last."""
        searched_from = max(len(head) - 2, 0)
        head += data
        ready = b""
        while head.startswith(b"HTTP/"[: len(head)]):
            end = _END.search(head, searched_from)
            size = end.end() if end else len(head)
            _check_size(head, self._passed_bytes + size, is_complete=end is not None)
            if end is None:
                return ready
            self._passed_bytes += size
            whole, rest = bytes(head[:size]), head[size:]
            ready += self._understood(whole)
            if not _INTERIM.match(whole):
                self._head = None
                return ready + rest
            self._head = head = rest
            searched_from = 0
        self._head = None  # the parser says what is wrong with it
        return ready + head

    def _understood(self, head: bytes) -> bytes:
        """Return the head with one length at most, as RFC 9110, 8.6 and RFC 9112, 6.3 have it."""
        framing = _FRAMING.findall(head)
        is_plain = len(framing) < _SEVERAL and not (framing and b"," in framing[0])
        if is_plain and len(head) < MAX_LINE_BYTES and head.count(b"\n") < MAX_LINES:
            return head
        lines = head.split(b"\n")
        if max(map(len, lines)) > MAX_LINE_BYTES:
            raise UnusableResponse(_LONG_LINE)
        if len(lines) - 3 > MAX_LINES:
            raise UnusableResponse(_MANY_LINES)
        lengths = [line for line in lines if line[: len(_LENGTH)].lower() == _LENGTH]
        values = {value.strip() for line in lengths for value in line[len(_LENGTH) :].split(b",")}
        is_chunked = any(map(_is_chunked, lines))
        if not lengths or (len(lengths) == 1 and b"," not in lengths[0] and not is_chunked):
            return head
        if any(line[:1] in b" \t" for line in lines[:-2] if line):
            return head  # a folded line: the parser's business
        if is_chunked:
            # The chunks count. A sender of both is confused: nothing else is read from it.
            self.force_close()
            return b"\n".join(line for line in lines if line not in lengths)
        if len(values) > 1:
            raise UnusableResponse(_LENGTHS_DIFFER)
        first = lines.index(lengths[0])
        others = [line for line in lines[first + 1 :] if line not in lengths]
        return b"\n".join([*lines[:first], b"Content-Length: %b\r" % values.pop(), *others])


def _check_size(head: bytearray, size: int, *, is_complete: bool) -> None:
    if not is_complete and len(head) - head.rfind(b"\n") > MAX_LINE_BYTES:
        raise UnusableResponse(_LONG_LINE)
    if size > MAX_HEAD_BYTES:
        raise UnusableResponse(_LARGE_HEAD)


def _is_chunked(line: bytes) -> bool:
    coding = line.rstrip().lower()
    return coding.startswith(_CODING) and coding.endswith(b"chunked")
