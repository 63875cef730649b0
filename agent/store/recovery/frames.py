"""Reads the frames of a write-ahead log, also those behind a damaged one.

SQLite stops at the first frame whose checksum is wrong. But a checksum continues the one that the
frame before carries in its header: each frame can be verified against its predecessor alone.

https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.store.recovery.btree import PAGE_BYTES

_MAGIC = (0x377F0682, 0x377F0683)
_HEADER, _FRAME_HEADER = struct.Struct(">8I"), struct.Struct(">6I")
HEADER_BYTES, FRAME_HEADER_BYTES = _HEADER.size, _FRAME_HEADER.size
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES
_WORDS = (8 + PAGE_BYTES) // 4
_32_BITS = 0xFFFFFFFF


class Frame(NamedTuple):
    """A frame of the log by its header: the page that it holds, and its place in the file."""

    place: int
    page: int
    is_commit: bool


class WalReader:
    """The frames of one log up to its last commit. Raises `OSError`."""

    def __init__(self, wal: Path) -> None:
        self._descriptor = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
        header = self._header()
        self._order = ">" if header[0] == _MAGIC[1] else "<"
        headers = list(self._headers())
        salts = _salts_of(header, [found[2:4] for _, found in headers])
        frames = [
            Frame(place, found[0], found[1] != 0)
            for place, found in headers
            if found[2:4] == salts and found[0] > 0
        ]
        # Frames behind the last commit belong to a transaction of which no till was told.
        end = max((count for count, one in enumerate(frames, 1) if one.is_commit), default=0)
        self.frames = frames[:end]

    def page(self, index: int) -> bytes:
        """Return the page of the frame at `index`, filled up with zeros."""
        content = os.pread(self._descriptor, PAGE_BYTES, self._at(index) + _FRAME_HEADER.size)
        return content.ljust(PAGE_BYTES, b"\0")

    def is_intact(self, index: int) -> bool:
        """Return whether the checksum of the frame continues the one before it."""
        if index:
            before = _FRAME_HEADER.unpack(self._read(self._at(index - 1), _FRAME_HEADER.size))[4:]
        else:
            before = self._header()[6:]
        frame = self._read(self._at(index), FRAME_BYTES)
        words = struct.unpack(f"{self._order}{_WORDS}I", frame[:8] + frame[_FRAME_HEADER.size :])
        first, second = before
        for one, other in zip(words[::2], words[1::2], strict=True):
            first = (first + one + second) & _32_BITS
            second = (second + other + first) & _32_BITS
        return (first, second) == _FRAME_HEADER.unpack(frame[: _FRAME_HEADER.size])[4:]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _headers(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        size = os.fstat(self._descriptor).st_size
        for index in range((size - _HEADER.size) // FRAME_BYTES):
            yield index, _FRAME_HEADER.unpack(self._read(self._at(index), _FRAME_HEADER.size))

    def _header(self) -> tuple[int, ...]:
        return _HEADER.unpack(self._read(0, _HEADER.size))

    def _read(self, at: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, at).ljust(size, b"\0")

    @staticmethod
    def _at(index: int) -> int:
        return _HEADER.size + index * FRAME_BYTES


def _salts_of(header: tuple[int, ...], found: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the salts of the newest log; its frames are at the front, older ones behind them.

    If the header is damaged, they are those of the first frames that agree with each other.
    """
    counted = Counter(found)
    if header[0] in _MAGIC and counted[header[4:6]]:
        return header[4:6]
    agreeing = (salts for salts in found if counted[salts] > 1 and any(salts))
    return next(agreeing, header[4:6])
