"""Parquet output; needs pyarrow (the extra `parquet`)."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Column, RowMapping, Text

from sync.receiver.db.columns import UtcTimestamp
from sync.receiver.export.formats import RowWriter, Write

# A row group is buffered in memory while it is written, and is a reader's unit of access.
_GROUP_ROWS = 65_536
_GROUP_CHARACTERS = 32 * 2**20


class ParquetRows(RowWriter):
    """Writes rows as Parquet; timestamps are in microseconds, UTC."""

    def __init__(self, write: Write, columns: Iterable[Column[object]]) -> None:
        self._schema = pa.schema([_field(column) for column in columns])
        self._writer = pq.ParquetWriter(_File(write), self._schema, compression="zstd")
        self._rows: list[RowMapping] = []
        self._characters = 0

    def write(self, rows: Iterable[RowMapping]) -> None:
        """Buffer rows; write them when a row group is full."""
        for row in rows:
            self._rows.append(row)
            self._characters += sum(len(text) for text in row.values() if isinstance(text, str))
            if len(self._rows) >= _GROUP_ROWS or self._characters >= _GROUP_CHARACTERS:
                self._write_group()

    def close(self) -> None:
        """Finish the file."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        columns = {name: [row[name] for row in self._rows] for name in self._schema.names}
        self._writer.write_table(pa.table(columns, schema=self._schema), len(self._rows))
        self._rows, self._characters = [], 0


class _File:
    """A file for pyarrow."""

    closed = False

    def __init__(self, write: Write) -> None:
        self.write = write

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def _field(column: Column[object]) -> "pa.Field":
    match column.type:
        case UtcTimestamp():
            kind = pa.timestamp("us", tz="UTC")
        case BigInteger():
            kind = pa.int64()
        case Boolean():
            kind = pa.bool_()
        case Text():
            kind = pa.string()
        case other:
            raise TypeError(f"no Parquet type for {other}")
    return pa.field(column.name, kind, nullable=column.nullable)
