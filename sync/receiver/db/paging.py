"""Iterate over the ledger in short reads: store by store, with keyset pagination."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    Text,
    bindparam,
    func,
    select,
    tuple_,
    union_all,
)

from sync.receiver.db.database import Reads

PAGE_ROWS = 500


async def store_ids_in(
    database: Reads, tables: Sequence[Table], store_id: str | None = None
) -> AsyncIterator[str]:
    """Yield the stores with a row in any of `tables`, in order; or only `store_id` if given."""
    if store_id is not None:
        yield store_id
        return
    # The next store id is one index lookup per table, independent of the number of rows.
    after = bindparam("after", type_=Text)
    least = union_all(
        *(select(func.min(table.c.store_id)).where(table.c.store_id > after) for table in tables)
    ).subquery()
    statement = select(func.min(least.c[0]).label("store_id"))
    last = ""
    while row := await database.read_first(statement, {"after": last}):
        if (last := row["store_id"]) is None:
            return
        yield last


async def pages_of(
    database: Reads,
    table: Table,
    condition: ColumnElement[bool],
    store_id: str | None = None,
    *,
    size: int = PAGE_ROWS,
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield pages of the rows of one store or of all that meet a condition, in primary-key order.

    A row that exists throughout is yielded exactly once; a row inserted meanwhile may be missed.
    """
    key = [column for column in table.primary_key if column.name != "store_id"]
    async for store in store_ids_in(database, [table], store_id):
        of_store = select(table).where(table.c.store_id == store, condition)
        async for rows in keyset_pages(database, of_store, key, size):
            yield rows


async def keyset_pages(
    database: Reads, statement: Select[Any], key: Sequence[Column[Any]], size: int = PAGE_ROWS
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield non-empty pages of a statement's rows in the order of a unique key, a read each."""
    first = page = statement.order_by(*key).limit(size)
    while rows := await database.read(partial(_rows, statement=page)):
        yield rows
        if len(rows) < size:
            return
        page = first.where(tuple_(*key) > tuple(rows[-1][column.name] for column in key))


def _rows(connection: Connection, statement: Select[Any]) -> Sequence[RowMapping]:
    return connection.execute(statement).mappings().all()
