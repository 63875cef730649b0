"""Decoding a body: of a bounded size, in no more memory than it takes, and never half."""

import asyncio
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TypeAlias

import zstandard

from sync.receiver.admission.memory_budget import Holding
from sync.receiver.errors import OwnCode, Problem, invalid, too_large

# What takes longer than a few milliseconds to decode is not done in the event loop: from so many
# decoded bytes on.
_LARGE_BYTES = 1024 * 1024
_MAX_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 8878: what every decoder should support
# So much of a zstd frame becomes 4 MiB at the very most: four bytes can stand for 128 KiB.
_ZSTD_PIECE_BYTES = 128
_GZIP_PIECE_BYTES, _GUNZIPPED_PIECE_BYTES = 64 * 1024, 1024 * 1024
_GZIP_WINDOW_BITS = 31
_NOT_DECODABLE = "The request body is not what its Content-Encoding says"

Body: TypeAlias = bytearray
Decoder: TypeAlias = Callable[[Body], Iterator[bytes]]


def decoder_of(encoding: str) -> Decoder | None:
    """Return what decodes a `Content-Encoding`, None where nothing has to; raises a `Problem`."""
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
    """Return the body as it was before it was encoded; of `encoded` nothing else is left.

    Raises `NoRoom`, or a `Problem` where it is too large then, or not what it says it is.
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
    """Return the problem of a body that is larger."""
    return too_large(f"The request is larger than {max_bytes} bytes")


class _Decoding:
    """A body that grows as it is decoded."""

    def __init__(self, pieces: Iterator[bytes], held: Holding, max_bytes: int) -> None:
        self.body = bytearray()
        self._pieces = pieces
        self._held = held
        self._max_bytes = max_bytes

    def reached_its_end(self, enough_bytes: int) -> bool:
        """Go on until there is more than enough; tell whether it came to its end before."""
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
    # Not the library's stream reader: it takes a frame that was cut short for a whole one.
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
