"""Decompress a request body with bounded size and memory; reject truncated input."""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TypeAlias

import zstandard

from sync.receiver.admission.memory_budget import Holding
from sync.receiver.errors import OwnCode, Problem, invalid, too_large

# Beyond this many decompressed bytes (a few milliseconds), go on in a thread.
_LARGE_BYTES = 1024 * 1024
_MAX_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 8878: the size that every decoder should support
# Chunk size of the input: 128 bytes of a zstd frame expand to at most 4 MiB (4 bytes to 128 KiB).
_ZSTD_PIECE_BYTES = 128
_GZIP_PIECE_BYTES, _GUNZIPPED_PIECE_BYTES = 64 * 1024, 1024 * 1024
_GZIP_WINDOW_BITS = 31
_NOT_DECODABLE = "The request body is not what its Content-Encoding says"

Body: TypeAlias = bytearray
Decoder: TypeAlias = Callable[[Body], Iterator[bytes]]


def decoder_of(encoding: str) -> Decoder | None:
    """Return the decompressor for a `Content-Encoding`, None for identity. Raises `Problem`."""
    known = encoding.strip().lower()
    if known not in _DECODERS:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding must be zstd, gzip or identity",
            OwnCode.UNSUPPORTED_MEDIA_TYPE,
            {"Accept-Encoding": "zstd, gzip, identity"},
        )
    return _DECODERS[known]


async def decode(encoded: Body, decoder: Decoder | None, held: Holding, max_bytes: int) -> Body:
    """Return the decompressed body; `encoded` is emptied to free its memory.

    Raises `MemoryBudgetExceeded`, or a `Problem` if the result is too large or corrupt.
    """
    if decoder is None:
        return encoded
    decoding = _Decoding(decoder(encoded), held, max_bytes)
    if not decoding.reached_its_end(_LARGE_BYTES):
        await asyncio.to_thread(decoding.reached_its_end, max_bytes)
    held.give_back(len(encoded))
    encoded.clear()
    return decoding.body


def too_large_for(max_bytes: int) -> Problem:
    """Return the 413 problem for a body larger than `max_bytes`."""
    return too_large(f"The request is larger than {max_bytes} bytes")


class _Decoding:
    """Incremental decompression of one body."""

    def __init__(self, pieces: Iterator[bytes], held: Holding, max_bytes: int) -> None:
        self.body = bytearray()
        self._pieces = pieces
        self._held = held
        self._max_bytes = max_bytes

    def reached_its_end(self, enough_bytes: int) -> bool:
        """Decompress until `enough_bytes` are exceeded; return whether the input ended first."""
        for piece in self._pieces:
            if len(self.body) + len(piece) > self._max_bytes:
                raise too_large_for(self._max_bytes)
            self._held.add(len(piece))
            self.body += piece
            if len(self.body) > enough_bytes:
                return False
        return True


def _gunzipped(body: Body) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        for start in range(0, len(body), _GZIP_PIECE_BYTES):
            if inflater.eof:
                raise invalid(_NOT_DECODABLE)
            piece = bytes(body[start : start + _GZIP_PIECE_BYTES])
            while piece:
                yield inflater.decompress(piece, _GUNZIPPED_PIECE_BYTES)
                piece = inflater.unconsumed_tail
    except zlib.error:
        raise invalid(_NOT_DECODABLE) from None
    if not inflater.eof or inflater.unused_data:
        raise invalid(_NOT_DECODABLE)


def _unzstd(body: Body) -> Iterator[bytes]:
    # Not the library's stream reader: it accepts a truncated frame as complete.
    inflater = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj()
    try:
        for start in range(0, len(body), _ZSTD_PIECE_BYTES):
            yield inflater.decompress(body[start : start + _ZSTD_PIECE_BYTES])
    except zstandard.ZstdError:
        raise invalid(_NOT_DECODABLE) from None
    if not inflater.eof or inflater.unused_data:
        raise invalid(_NOT_DECODABLE)


_DECODERS: dict[str, Decoder | None] = {
    "": None,
    "identity": None,
    "gzip": _gunzipped,
    "x-gzip": _gunzipped,
    "zstd": _unzstd,
}
