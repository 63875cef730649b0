"""Values on the driver's connection: rows checked on the way out, lists on the way in."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
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


def as_list(values: Iterable[int | str]) -> str:
    """Return `values` as one parameter, to be read with SQL's `json_each`."""
    return json.dumps(list(values))


def driver_connection(session: Session) -> sqlite3.Connection:
    """Return the driver's connection of `session`, in its transaction."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - narrows the type
    return connection
