"""Watches the head of a request as it arrives, before it is parsed.

The parser limits each field and their number, not the whole: without a bound here, cookies of
64 KiB would allow every connection 8 MiB before anybody is authenticated.
"""

from aiohttp.http_exceptions import BadHttpMessage

# For one field, such as the cookies of all programs on localhost; and for all of a head.
MAX_FIELD_BYTES = 64 * 1024
MAX_HEAD_BYTES = 96 * 1024
_END = b"\r\n\r\n"
_END_BYTES = len(_END)
# Load balancers and supervisors ask these in HTTP/1.0, or in HTTP/1.1 without the field that it
# requires. A browser always sends one, so that no page of a rebound name gains by it.
_PROBES = tuple(
    f"{method} {path} HTTP/1.".encode()
    for method in ("GET", "HEAD")
    for path in ("/healthz", "/readyz")
)
_HOST, _ANY_HOST = b"\r\nhost:", b"\r\nHost: localhost"
# No head goes on after this byte: the parser gives the request up.
_UNPARSABLE = b"\x00"
TOO_LARGE = f"the request head is larger than {MAX_FIELD_BYTES // 1024} KiB"


class LargeHead(BadHttpMessage):
    """The head of a request is larger than `MAX_HEAD_BYTES`."""

    def __init__(self) -> None:
        super().__init__(TOO_LARGE)


class RequestHead:
    """The head that arrives on one connection. Tell it when its request is taken: `begin`.

    Nearly all requests come in one piece: it is only searched if another one follows.
    """

    __slots__ = ("_bytes", "_end", "_first", "_is_complete", "is_too_large")

    def __init__(self) -> None:
        self.is_too_large = False
        self.begin()

    def begin(self) -> None:
        """Expect the next head."""
        self._first: bytes | None = None
        self._is_complete, self._bytes, self._end = False, 0, b""

    def receive(self, data: bytes) -> bytes:
        """Return what the parser is to get instead of `data`, part of a head or after it."""
        if self._first is None:
            if data.startswith(_PROBES) and _END in data:
                data = _with_host(data)
            self._first = data
            return data
        if self.is_too_large:
            return b""
        if self._first:
            self._add(self._first)
            self._first = b""
        self._add(data)
        return _UNPARSABLE if self.is_too_large else data

    def _add(self, data: bytes) -> None:
        if self._is_complete:
            return
        if _END in data or _END in self._end + data[: _END_BYTES - 1]:
            self._is_complete = True
            return
        self._bytes += len(data)
        self._end = (self._end + data)[1 - _END_BYTES :]
        self.is_too_large = self._bytes > MAX_HEAD_BYTES


def _with_host(data: bytes) -> bytes:
    end = data.index(_END)
    if _HOST in data[:end].lower():
        return data
    line = data.index(b"\r\n")
    return data[:line] + _ANY_HOST + data[line:]
