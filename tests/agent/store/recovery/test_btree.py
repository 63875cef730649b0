"""The page reader finds every row of an undamaged table, equal to what SQLite reads."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store.recovery.btree import PAGE_BYTES, Value, leaf_rows
from agent.store.recovery.source import PageSource

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
# Lengths around the limits of a cell, of an overflow page, and of several.
BLOBS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([489, 4057, 4061, 4062, 4092, 8_200, 20_000]).map(lambda size: b"\xa5" * size),
)
ROWS = st.dictionaries(
    NUMBERS, st.tuples(*[st.one_of(st.none(), NUMBERS, TEXTS, BLOBS)] * 3), max_size=60
)


@contextmanager
def database(rows: dict[int, tuple[Value, ...]], *, in_wal: bool) -> Iterator[Path]:
    """Write `rows` to a database of an open connection, in the file or in its WAL."""
    with TemporaryDirectory() as place:
        path = Path(place) / "agent.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("CREATE TABLE other (a)")
            connection.execute("CREATE TABLE given (number INTEGER PRIMARY KEY, a, b, c)")
            for number, values in rows.items():
                connection.execute("INSERT INTO given VALUES (?, ?, ?, ?)", (number, *values))
            if not in_wal:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            yield path


def rows_of(source: PageSource, leaf: int) -> Iterator[tuple[int, list[Value]] | None]:
    return leaf_rows(leaf, source.page(leaf) or b"", source.page)


@settings(max_examples=60)
@given(ROWS, st.booleans())
def test_every_row_of_an_undamaged_table_is_read(
    rows: dict[int, tuple[Value, ...]],
    in_wal: bool,  # noqa: FBT001 - drawn
) -> None:
    with (
        database(rows, in_wal=in_wal) as path,
        closing(PageSource(path, path.with_name(f"{path.name}-wal"))) as source,
    ):
        found = {
            row_id: tuple(values[1:])
            for leaf in source.leaves_of("given")
            for row_id, values in filter(
                None, leaf_rows(leaf, source.page(leaf) or b"", source.page)
            )
        }
        assert found == rows
        assert source.leaves_of("missing") == set()


@cache
def full_page() -> bytes:
    """Return a leaf page with many rows."""
    rows: dict[int, tuple[Value, ...]] = {number: (number, "text", b"blob") for number in range(90)}
    with (
        database(rows, in_wal=False) as path,
        closing(PageSource(path, path.with_name(f"{path.name}-wal"))) as source,
    ):
        (leaf, *_) = source.leaves_of("given")
        return source.page(leaf) or b""


@settings(max_examples=100)
@given(st.dictionaries(st.integers(0, PAGE_BYTES - 1), st.integers(0, 255), min_size=1))
def test_damaged_page_raises_nothing(damage: dict[int, int]) -> None:
    page = bytearray(full_page())
    for at, byte in damage.items():
        page[at] = byte
    found = list(leaf_rows(2, bytes(page), lambda _: None))
    assert all(row is None or row[1] for row in found)
