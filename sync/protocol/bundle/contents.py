"""The head and the records of a bundle."""

import hmac
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import zstandard

from sync.protocol.bundle.sealing import (
    CHUNK_BYTES,
    CONTENT_KEY_BYTES,
    BundleError,
    SealedReader,
    SealedWriter,
)
from sync.protocol.wire import EpochExtent

# Bounds the memory of a reader, whoever wrote the file.
_MAX_RECORD_BYTES = 16 * 1024 * 1024
# A batch names at least its till, epoch and boot. Bounds the number of records.
_MIN_BATCH_BYTES = 64
_MAX_WINDOW_BYTES = 8 * 1024 * 1024
_RECORD = struct.Struct(">cI")
_BATCH, _END = b"B", b"E"
_READ_BYTES = 1024 * 1024
# Bounds the time as well: captures with ids and times of their own compress by a tenth of that.
_MAX_RATIO = 2_000
_MIN_CONTENT_BYTES = 64 * 1024 * 1024


class BundleHead(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Sender of a bundle. `epochs`: how far those extend that it knows of, the current one last.

    `proof`: shows that the sender had the till's token; empty without one.
    """

    content_key: bytes
    store_id: str
    till_id: str
    agent_version: str
    written_at: str
    epochs: list[EpochExtent]
    proof: bytes = b""


class BundleEnd(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The last record: the numbers of events and batches before it."""

    events: int
    batches: int


_head = msgspec.json.Decoder(BundleHead)
_end = msgspec.json.Decoder(BundleEnd)


def proof_of(content_key: bytes, store_id: str, till_id: str, token_hash: str) -> bytes:
    """Return the proof that the sender had the token with this hash.

    It covers the content: only the writer of a bundle and head office know its content key. The
    public key is on every POS machine, so anybody could seal events in the name of any till.
    """
    message = b"\n".join((b"loyalty-bundle", store_id.encode(), till_id.encode(), content_key))
    return hmac.digest(token_hash.encode(), message, "sha256")


def encode_head(head: BundleHead) -> bytes:
    """Return the head as JSON."""
    return msgspec.json.encode(head)


def decode_head(content: bytes) -> BundleHead:
    """Return the head. Raises `BundleError`."""
    try:
        head = _head.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise malformed() from None
    if len(head.content_key) != CONTENT_KEY_BYTES or not head.epochs:
        raise malformed()
    return head


class BundleWriter:
    """Writes batches, compressed, to a sealed stream."""

    def __init__(self, sealed: SealedWriter) -> None:
        self._sealed = sealed
        self._compressor = zstandard.ZstdCompressor().compressobj()
        self._events = self._batches = 0

    def add(self, batch: bytes, events: int) -> None:
        """Add a batch of this many events, as JSON."""
        self._write(_BATCH, batch)
        self._events += events
        self._batches += 1

    def close(self) -> int:
        """Write the end; return the number of events."""
        self._write(
            _END, msgspec.json.encode(BundleEnd(events=self._events, batches=self._batches))
        )
        self._sealed.write(self._compressor.flush())
        self._sealed.close()
        return self._events

    def _write(self, kind: bytes, content: bytes) -> None:
        for part in (_RECORD.pack(kind, len(content)), content):
            self._sealed.write(self._compressor.compress(part))


def read_records(
    file: BinaryIO, content_key: bytes, file_bytes: int
) -> Iterator[bytes | BundleEnd]:
    """Yield the batches as JSON, and then the end. Raises `BundleError`.

    The end is yielded once all of the file is authenticated, and nothing follows. Content out of
    proportion to the size of the file is refused.
    """
    remaining = max(_MAX_RATIO * file_bytes, _MIN_CONTENT_BYTES)
    sealed = io.BufferedReader(SealedReader(file, content_key), CHUNK_BYTES)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(sealed, read_size=_READ_BYTES) as content:
            while isinstance(record := _read_record(content), bytes):
                remaining -= len(record) + _RECORD.size
                if remaining < 0:
                    raise malformed()
                yield record
            if content.read(1) or sealed.read(1):
                raise malformed()
            yield record
    except zstandard.ZstdError:
        raise malformed() from None


def _read_record(content: zstandard.ZstdDecompressionReader) -> bytes | BundleEnd:
    kind, length = _RECORD.unpack(_read_exactly(content, _RECORD.size))
    if length > _MAX_RECORD_BYTES or (kind == _BATCH and length < _MIN_BATCH_BYTES):
        raise malformed()
    record = _read_exactly(content, length)
    if kind == _BATCH:
        return record
    try:
        return _end.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise malformed() from None


def _read_exactly(content: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = content.read(size - len(parts))
        if not part:
            raise malformed()
        parts += part
    return bytes(parts)


def malformed(fault: str = "") -> BundleError:
    """Return the error for authentic content that no agent writes; `fault` names it."""
    named = f" ({fault})" if fault else ""
    return BundleError(f"its content is not that of a bundle{named}: its writer has a fault")
