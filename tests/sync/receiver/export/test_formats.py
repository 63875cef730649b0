"""CSV, JSON lines and Parquet: rows round-trip through each format."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import RowMapping

from sync.receiver.export.formats import CsvRows, JsonRows
from sync.receiver.export.parquet import ParquetRows
from sync.receiver.export.selection import ExportTable, Selection
from tests.support.head_office.messages import AT

COLUMNS = Selection(ExportTable.EMAIL_ANSWERS).columns
NAMES = [column.name for column in COLUMNS]
TIMES = ("occurred_at", "received_at", "corrected_at")
# Texts that PostgreSQL and SQLite accept: no NUL, no lone surrogate.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "store_id": TEXTS,
            "till_id": TEXTS,
            "epoch": TEXTS,
            "sequence": st.integers(0, 2**63 - 1),
            "correlation_id": TEXTS,
            "status": TEXTS,
            "email_address": st.none() | TEXTS | st.sampled_from(["=1+1", "+49", "-1", "@x"]),
            "address_erased": st.booleans(),
            "body": TEXTS,
            "occurred_at": MOMENTS,
            "received_at": MOMENTS,
            "corrected_at": st.none() | MOMENTS,
            "clock_trusted": st.booleans(),
        }
    ),
    max_size=5,
)


@dataclass
class Sink:
    """Collects written bytes."""

    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)


def as_rows(rows: Sequence[dict[str, object]]) -> list[RowMapping]:
    return cast("list[RowMapping]", list(rows))


def written(moment: object) -> str:
    assert isinstance(moment, datetime)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def as_text(value: object) -> str:
    """Return the CSV form of a value."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case datetime():
            return written(value)
        case _:
            return str(value)


def csv_of(rows: Sequence[dict[str, object]], *, for_spreadsheet: bool = False) -> tuple[str, int]:
    sink = Sink()
    writer = CsvRows(sink.write, NAMES, for_spreadsheet=for_spreadsheet)
    writer.write(as_rows(rows))
    writer.close()
    return sink.data.decode(), writer.changed


@given(rows=ROWS)
def test_csv_round_trips(rows: list[dict[str, object]]) -> None:
    text, changed = csv_of(rows)

    names, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert names == NAMES
    assert lines == [[as_text(row[name]) for name in NAMES] for row in rows]
    assert changed == 0


def test_csv_distinguishes_empty_text_from_none() -> None:
    sink = Sink()

    CsvRows(sink.write, ["a", "b"]).write(as_rows([{"a": None, "b": ""}]))

    assert sink.data == b'a,b\r\n,""\r\n'


@given(rows=ROWS)
def test_spreadsheet_csv_escapes_and_counts_formulas(
    rows: list[dict[str, object]],
) -> None:
    text, changed = csv_of(rows, for_spreadsheet=True)

    _, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    plain = [[as_text(row[name]) for name in NAMES] for row in rows]
    pairs = [pair for line in zip(lines, plain, strict=True) for pair in zip(*line, strict=True)]
    assert changed == sum(shown != was for shown, was in pairs)
    assert all(shown.replace("'", "") == was.replace("'", "") for shown, was in pairs)
    assert formulas_in(text) == []


@pytest.mark.parametrize(
    "attack",
    [
        "=cmd|' /C calc'!A0",
        "\t=1",
        "a;=1",
        'a;"=1',
        "a\n=1",
        "a\r\n-1",
        "a; +1",
        "a\t@SUM(1)",
        "\uff1d1",
        "x;\uff201",
        ";\t",
        "\n\t",
        'a;"\t',
        "a\n\r",
    ],
)
def test_no_separator_of_a_spreadsheet_starts_a_formula(attack: str) -> None:
    """One in a country with decimal commas splits the line at semicolons."""
    row = dict.fromkeys(NAMES, None) | {"correlation_id": attack}

    text, changed = csv_of([row], for_spreadsheet=True)

    assert changed == 1
    assert formulas_in(text) == []


def formulas_in(text: str) -> list[str]:
    """Return the cells that a spreadsheet takes for formulas, whichever separator it expects."""
    starts = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
    return [
        cell
        for separator in ",;\t"
        for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        for cell in line
        if cell.startswith(("\t", "\r")) or cell.lstrip().startswith(starts)
    ]


@given(rows=ROWS)
def test_json_lines_round_trip(rows: list[dict[str, object]]) -> None:
    sink = Sink()

    JsonRows(sink.write, NAMES).write(as_rows(rows))

    found = [json.loads(line) for line in sink.data.split(b"\n")[:-1]]
    assert found == [
        {
            name: written(value) if name in TIMES and value is not None else value
            for name, value in row.items()
        }
        for row in rows
    ]


# The first example loads the library.
@pytest.mark.slow
@settings(deadline=None)
@given(rows=ROWS)
def test_parquet_round_trips_with_types(rows: list[dict[str, object]]) -> None:
    sink = Sink()
    writer = ParquetRows(sink.write, COLUMNS)
    writer.write(as_rows(rows))
    writer.close()

    table: Any = pq.read_table(io.BytesIO(sink.data))

    assert table.to_pylist() == rows
    assert str(table.schema.field("received_at").type) == "timestamp[us, tz=UTC]"


@pytest.mark.parametrize("body", ["x", "x" * 2**20])
def test_parquet_row_groups_are_bounded(body: str) -> None:
    """Neither many rows nor large rows are buffered until the end."""
    sink = Sink()
    writer = ParquetRows(sink.write, COLUMNS)
    row: dict[str, object] = dict.fromkeys(NAMES, "")
    row |= {"body": body, "sequence": 1, "address_erased": False, "clock_trusted": True}
    row |= dict.fromkeys(TIMES, AT)
    rows = as_rows([row] * (140_000 if len(body) == 1 else 70))

    writer.write(rows)
    writer.close()

    assert pq.ParquetFile(io.BytesIO(sink.data)).num_row_groups == 3
