"""Iterate over the ledger in short reads: store by store, with keyset pagination."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

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

from sync.receiver.db.database import Database


async def store_ids_in(
    database: Database, tables: Sequence[Table], store_id: str | None = None
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


class KeysetPager:
    """Keyset pagination over the rows of a table that meet a condition, in primary-key order.

    Each page is its own read: a row that exists throughout is yielded exactly once; a row
    inserted meanwhile may be missed.
    """

    def __init__(
        self, database: Database, table: Table, condition: ColumnElement[bool], *, size: int
    ) -> None:
        self._database = database
        self._key: list[Column[object]] = [
            column for column in table.primary_key if column.name != "store_id"
        ]
        of_store = table.c.store_id == bindparam("of_store", type_=Text)
        self._first = (
            select(table).where(of_store, condition).order_by(*table.primary_key).limit(size)
        )
        after = [bindparam(f"after_{column.name}", type_=column.type) for column in self._key]
        self._next = self._first.where(tuple_(*self._key) > tuple_(*after))

    async def of_store(self, store_id: str) -> AsyncIterator[Sequence[RowMapping]]:
        """Yield the non-empty pages of a store."""
        statement, values = self._first, {"of_store": store_id}
        while rows := await self._database.read(partial(_rows, statement=statement, values=values)):
            yield rows
            last = {f"after_{column.name}": rows[-1][column.name] for column in self._key}
            statement, values = self._next, {"of_store": store_id, **last}


def _rows(
    connection: Connection, statement: Select[tuple[object, ...]], values: dict[str, str]
) -> Sequence[RowMapping]:
    return connection.execute(statement, values).mappings().all()
