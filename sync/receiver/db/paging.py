"""Iterate over the ledger in short reads: store by store, with keyset pagination."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

from sqlalchemy import (
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
    database: Reads, table: Table, store_id: str, condition: ColumnElement[bool], *, size: int
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield non-empty pages of a store's rows that meet a condition, in primary-key order.

    Keyset pagination, each page its own read: a row that exists throughout is yielded exactly
    once; a row inserted meanwhile may be missed.
    """
    key = [column for column in table.primary_key if column.name != "store_id"]
    of_store = select(table).where(table.c.store_id == store_id, condition)
    first = page = of_store.order_by(*table.primary_key).limit(size)
    while rows := await database.read(partial(_rows, statement=page)):
        yield rows
        page = first.where(tuple_(*key) > tuple(rows[-1][column.name] for column in key))


def _rows(connection: Connection, statement: Select[tuple[object, ...]]) -> Sequence[RowMapping]:
    return connection.execute(statement).mappings().all()
