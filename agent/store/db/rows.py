"""Values on the driver's connection: rows checked on the way out, lists on the way in."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import msgspec
from sqlmodel import Session

from agent.store.files.storage_errors import CorruptRow

T = TypeVar("T")


def checked(row: object, kind: type[T]) -> T:
    """Return `row` as a `kind`, with every value of the type that `kind` declares.

    SQLite reads any value from a damaged page, or no row (`row` is None), without an error. Raises
    `CorruptRow`, which does not quote the value: it may be a customer's.
    """
    try:
        return msgspec.convert(row, kind, builtin_types=(bytes,))
    except msgspec.ValidationError:
        reason = "a row is missing" if row is None else "unexpected value in a row"
        raise CorruptRow(reason) from None


def checked_rows(rows: Iterable[object], kind: type[T]) -> Iterator[T]:
    """Yield `rows` as `checked` returns them."""
    return (checked(row, kind) for row in rows)


def intact_rows(rows: Iterable[object], kind: type[T]) -> Iterator[T]:
    """Yield `rows` as `checked` returns them, without those that are damaged."""
    for row in rows:
        with suppress(CorruptRow):
            yield checked(row, kind)


@contextmanager
def undecoded_text(connection: sqlite3.Connection) -> Iterator[None]:
    """Read a text that is not UTF-8 as bytes instead of failing, until the block ends.

    Slower for each text, so connections on the hot paths use it only after a failure.
    """
    before = connection.text_factory
    connection.text_factory = text_or_bytes
    try:
        yield
    finally:
        connection.text_factory = before


def text_or_bytes(raw: bytes) -> str | bytes:
    """Return `raw` as text if it is UTF-8, unchanged if it is not."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def readable(text: object, otherwise: str = "") -> str:
    """Return `text` if it is one; else `otherwise`."""
    return text if isinstance(text, str) else otherwise


def int_or_none(value: object) -> int | None:
    """Return `value` if it is a whole number; else None."""
    return value if isinstance(value, int) else None


def as_list(values: Iterable[int | str]) -> str:
    """Return `values` as one parameter, to be read with SQL's `json_each`."""
    return json.dumps(list(values))


def driver_connection(session: Session) -> sqlite3.Connection:
    """Return the driver's connection of `session`, in its transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - narrows the type
    return connection
