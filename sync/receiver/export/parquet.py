"""Parquet output: one zstd-compressed page of plain values for each column of a row group.

The format is at https://parquet.apache.org/docs/file-format/. Written here because the libraries
that write it are four to ten times the size of the whole package, on each POS machine; tests read
the files with pyarrow.
"""

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import cast

import zstandard
from sqlalchemy import BigInteger, Boolean, Column, RowMapping, Text

from sync.receiver.db.columns import UtcTimestamp
from sync.receiver.export import thrift
from sync.receiver.export.formats import RowWriter, Write

# A row group is buffered in memory while it is written, and is a reader's unit of access.
_GROUP_ROWS = 65_536
_GROUP_CHARACTERS = 32 * 2**20
_MAGIC = b"PAR1"
_VERSION = 1
_BOOLEAN, _INT64, _BYTE_ARRAY = 0, 2, 6
_REQUIRED, _OPTIONAL = 0, 1
_DATA_PAGE, _PLAIN, _RLE, _ZSTD = 0, 0, 3, 6
_UTF8, _TIMESTAMP_MICROS = 0, 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def _plain_texts(values: Iterable[object]) -> bytes:
    encoded = [str(value).encode() for value in values]
    return b"".join(len(one).to_bytes(4, "little") + one for one in encoded)


def _plain_integers(values: Iterable[object]) -> bytes:
    return _little_endian(cast("Iterable[int]", values))


def _plain_times(values: Iterable[object]) -> bytes:
    return _little_endian(
        (value - _EPOCH) // _MICROSECOND for value in cast("list[datetime]", values)
    )


def _plain_booleans(values: Iterable[object]) -> bytes:
    """Pack eight values a byte, the first one lowest."""
    flags = ["1" if value else "0" for value in values]
    bits = int("".join(reversed(flags)) or "0", 2)
    return bits.to_bytes((len(flags) + 7) // 8, "little")


def _little_endian(numbers: Iterable[int]) -> bytes:
    packed = array("q", numbers)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


@dataclass(frozen=True, slots=True)
class _Kind:
    """Physical type, encoder of values, and logical type."""

    physical: int
    encode: Callable[[Iterable[object]], bytes]
    meaning: Mapping[int, thrift.Value]


_EMPTY = thrift.struct({})
_TIMESTAMP = thrift.struct({1: thrift.boolean(True), 2: thrift.struct({2: _EMPTY})})
_TEXTS = _Kind(_BYTE_ARRAY, _plain_texts, {6: thrift.i32(_UTF8), 10: thrift.struct({1: _EMPTY})})
_TIMES = _Kind(
    _INT64, _plain_times, {6: thrift.i32(_TIMESTAMP_MICROS), 10: thrift.struct({8: _TIMESTAMP})}
)
_INTEGERS = _Kind(_INT64, _plain_integers, {})
_BOOLEANS = _Kind(_BOOLEAN, _plain_booleans, {})


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: _Kind
    is_optional: bool

    def page(self, values: Sequence[object]) -> bytes:
        """Encode the values: which of them are there, then those."""
        if not self.is_optional:
            return self.kind.encode(values)
        present = [value is not None for value in values]
        levels = b"".join(
            thrift.varint(len(list(run)) << 1) + bytes((is_there,))
            for is_there, run in groupby(present)
        )
        there = (value for value in values if value is not None)
        return len(levels).to_bytes(4, "little") + levels + self.kind.encode(list(there))

    def schema(self) -> thrift.Value:
        repetition = _OPTIONAL if self.is_optional else _REQUIRED
        return thrift.struct(
            {
                1: thrift.i32(self.kind.physical),
                3: thrift.i32(repetition),
                4: thrift.string(self.name),
                **self.kind.meaning,
            }
        )


class ParquetRows(RowWriter):
    """Writes rows as Parquet; timestamps are in microseconds, UTC."""

    def __init__(self, write: Write, columns: Iterable[Column[object]]) -> None:
        self._write_bytes = write
        self._columns = [
            _Column(column.name, _kind_of(column), bool(column.nullable)) for column in columns
        ]
        self._compress = zstandard.ZstdCompressor().compress
        self._offset = 0
        self._groups: list[thrift.Value] = []
        self._total = 0
        self._rows: list[RowMapping] = []
        self._characters = 0
        self._append(_MAGIC)

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Buffer rows; write them when a row group is full."""
        for row in rows:
            self._rows.append(row)
            self._characters += sum(len(text) for text in row.values() if isinstance(text, str))
            if len(self._rows) >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
                self._write_group()

    def close(self) -> None:
        """Finish the file: its metadata stands at the end."""
        if self._rows:
            self._write_group()
        root = thrift.struct({4: thrift.string("schema"), 5: thrift.i32(len(self._columns))})
        metadata = thrift.struct(
            {
                1: thrift.i32(_VERSION),
                2: thrift.sequence([root, *(column.schema() for column in self._columns)]),
                3: thrift.i64(self._total),
                4: thrift.sequence(self._groups),
                6: thrift.string("loyalty-hq"),
            }
        ).data
        self._append(metadata + len(metadata).to_bytes(4, "little") + _MAGIC)

    def _append(self, data: bytes) -> None:
        self._write_bytes(data)
        self._offset += len(data)

    def _write_group(self) -> None:
        count, began = len(self._rows), self._offset
        chunks = [self._write_chunk(column) for column in self._columns]
        self._groups.append(
            thrift.struct(
                {
                    1: thrift.sequence(chunks),
                    2: thrift.i64(self._offset - began),
                    3: thrift.i64(count),
                }
            )
        )
        self._total += count
        self._rows, self._characters = [], 0

    def _write_chunk(self, column: _Column) -> thrift.Value:
        """Write one column of the row group; return its metadata."""
        values, began = [row[column.name] for row in self._rows], self._offset
        page = column.page(values)
        packed = self._compress(page)
        levels = {3: thrift.i32(_RLE), 4: thrift.i32(_RLE)}
        head = thrift.struct(
            {
                1: thrift.i32(_DATA_PAGE),
                2: thrift.i32(len(page)),
                3: thrift.i32(len(packed)),
                5: thrift.struct({1: thrift.i32(len(values)), 2: thrift.i32(_PLAIN), **levels}),
            }
        ).data
        self._append(head + packed)
        metadata = {
            1: thrift.i32(column.kind.physical),
            2: thrift.sequence([thrift.i32(_PLAIN), thrift.i32(_RLE)]),
            3: thrift.sequence([thrift.string(column.name)]),
            4: thrift.i32(_ZSTD),
            5: thrift.i64(len(values)),
            6: thrift.i64(len(head) + len(page)),
            7: thrift.i64(len(head) + len(packed)),
            9: thrift.i64(began),
        }
        return thrift.struct({2: thrift.i64(began), 3: thrift.struct(metadata)})


def _kind_of(column: Column[object]) -> _Kind:
    match column.type:
        case UtcTimestamp():
            return _TIMES
        case BigInteger():
            return _INTEGERS
        case Boolean():
            return _BOOLEANS
        case Text():
            return _TEXTS
        case other:
            raise TypeError(f"no Parquet type for {other}")
