"""Limits the size of a request head as it arrives, before it is parsed.

The parser limits each field and the number of fields, not their sum: with fields of 64 KiB allowed,
as cookies may need, a connection could use 8 MiB before it is authenticated. It keeps the trailers
after a body in the same way.
"""

from aiohttp.http_exceptions import BadHttpMessage

# For one field, such as the cookies of all programs on localhost; and for a whole head, or the
# trailers and chunk extensions of a body.
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
_MAX_PROBE_BYTES = 4 * 1024
_HOST, _ANY_HOST = b"\r\nhost:", b"\r\nHost: localhost"
# No head goes on after this byte: the parser gives the request up.
_UNPARSABLE = b"\x00"
TOO_LARGE = f"the request head is larger than {MAX_FIELD_BYTES // 1024} KiB"


class LargeHead(BadHttpMessage):
    """The head of a request is larger than `MAX_HEAD_BYTES`."""

    def __init__(self) -> None:
        super().__init__(TOO_LARGE)


class RequestHead:
    """The head that arrives on one connection. Tell it when the parser has a request: `begin`."""

    # `_probe`: a probe's incomplete head, held back. `_bytes`, `_last`: of the bytes passed on.
    __slots__ = ("_bytes", "_last", "_probe", "is_too_large")

    def __init__(self) -> None:
        self.is_too_large = False
        self.begin()

    def begin(self) -> None:
        """Expect the next head."""
        self._bytes, self._last, self._probe = 0, b"", b""

    def receive(self, data: bytes) -> bytes:
        """Return the bytes to pass to the parser instead of `data`."""
        if not self._bytes:
            data = self._probe + data
            if data.startswith(_PROBES):
                if _END in data:
                    data = _with_host(data)
                elif len(data) <= _MAX_PROBE_BYTES:
                    self._probe = data
                    return b""
        self._bytes += len(data)
        # What follows the end of a head is its body. Empty lines before a head look like an end.
        if self._bytes > MAX_HEAD_BYTES and _END not in self._last + data:
            self.is_too_large = True
            return _UNPARSABLE
        self._last = (self._last + data if len(data) < _END_BYTES else data)[1 - _END_BYTES :]
        return data


def _with_host(data: bytes) -> bytes:
    if _HOST in data.partition(_END)[0].lower():
        return data
    line, _, rest = data.partition(b"\r\n")
    return line + _ANY_HOST + b"\r\n" + rest
