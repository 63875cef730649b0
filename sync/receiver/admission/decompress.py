"""Decompress a request body with bounded size and memory; reject truncated input."""

import asyncio
import math
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TypeAlias

import zstandard

from sync.protocol.wire import ErrorCode
from sync.receiver.admission.memory_budget import Reservation
from sync.runtime.network.http_errors import HttpError, bad_request, too_large

# Beyond this many decompressed bytes (a few milliseconds), go on in a thread.
_LARGE_BYTES = 1024 * 1024
# Batches of usual events shrink to a tenth, monitoring probes to a fiftieth. Beyond, a request of a
# few bytes would cost others the time to store megabytes.
_MAX_RATIO = 100
_ANY_RATIO_BYTES = 4 * 1024 * 1024
_MAX_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 8878: the size that every decoder should support
# Chunk size of the input: 128 bytes of a zstd frame expand to at most 4 MiB (4 bytes to 128 KiB).
_ZSTD_CHUNK_BYTES = 128
_GZIP_CHUNK_BYTES, _GUNZIPPED_CHUNK_BYTES = 64 * 1024, 1024 * 1024
_GZIP_WINDOW_BITS = 31
_CORRUPT = "The request body does not match its Content-Encoding"

Decompressor: TypeAlias = Callable[[bytearray], Iterator[bytes]]


def decompressor_for(encoding: str) -> Decompressor | None:
    """Return the decompressor for a `Content-Encoding`, None for identity. Raises `HttpError`."""
    name = encoding.strip().lower()
    if name not in _DECOMPRESSORS:
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be zstd, gzip or identity",
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            {"Accept-Encoding": "zstd, gzip, identity"},
        )
    return _DECOMPRESSORS[name]


async def decompress(
    body: bytearray, decompressor: Decompressor | None, reservation: Reservation, max_bytes: int
) -> bytearray:
    """Return the decompressed body; `body` is emptied to free its memory.

    Raises `MemoryBudgetExceeded`, or an `HttpError` if the result is too large or corrupt.
    """
    if decompressor is None:
        return body
    max_bytes = min(max_bytes, max(_ANY_RATIO_BYTES, len(body) * _MAX_RATIO))
    result, chunks = bytearray(), decompressor(body)
    if not _append(result, chunks, reservation, max_bytes, stop_beyond=_LARGE_BYTES):
        await asyncio.to_thread(_append, result, chunks, reservation, max_bytes)
    reservation.release(len(body))
    body.clear()
    return result


def _append(
    result: bytearray,
    chunks: Iterator[bytes],
    reservation: Reservation,
    max_bytes: int,
    stop_beyond: float = math.inf,
) -> bool:
    """Append chunks until `stop_beyond` is exceeded; return whether the input ended first."""
    try:
        for chunk in chunks:
            if len(result) + len(chunk) > max_bytes:
                raise too_large_for(max_bytes)
            reservation.add(len(chunk))
            result += chunk
            if len(result) > stop_beyond:
                return False
    except (zlib.error, zstandard.ZstdError):
        raise bad_request(_CORRUPT) from None
    return True


def too_large_for(max_bytes: int) -> HttpError:
    """Return the 413 for a body larger than `max_bytes`."""
    return too_large(f"The request is larger than {max_bytes} bytes")


def _gunzip(body: bytearray) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    for chunk in _chunks(body, _GZIP_CHUNK_BYTES):
        if inflater.eof:
            raise bad_request(_CORRUPT)
        rest = bytes(chunk)
        while rest:
            yield inflater.decompress(rest, _GUNZIPPED_CHUNK_BYTES)
            rest = inflater.unconsumed_tail
    if not inflater.eof or inflater.unused_data:
        raise bad_request(_CORRUPT)


def _unzstd(body: bytearray) -> Iterator[bytes]:
    # Not the library's stream reader: it accepts a truncated frame as complete.
    inflater = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
    for chunk in _chunks(body, _ZSTD_CHUNK_BYTES):
        yield inflater.decompress(chunk)
    if not inflater.eof or inflater.unused_data:
        raise bad_request(_CORRUPT)


def _chunks(body: bytearray, size: int) -> Iterator[bytearray]:
    return (body[start : start + size] for start in range(0, len(body), size))


_DECOMPRESSORS: dict[str, Decompressor | None] = {
    "": None,
    "identity": None,
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
}
