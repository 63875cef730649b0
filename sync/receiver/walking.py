"""Walks through the ledger in short reads: store by store, and a table's rows page by page."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

from sqlalchemy import Connection, Select, Table, Text, bindparam, func, select, union_all

from sync.receiver.database import Database


async def stores_in(
    database: Database, tables: Sequence[Table], store_id: str | None = None
) -> AsyncIterator[str]:
    """Yield the stores that have a row in any of `tables`, in order; or the one that is named."""
    if store_id is not None:
        yield store_id
        return
    # The least of each table is one look into its key, however many rows the stores have.
    after = bindparam("after", type_=Text)
    least = union_all(
        *(select(func.min(table.c.store_id)).where(table.c.store_id > after) for table in tables)
    ).subquery()
    work = partial(_first, statement=select(func.min(least.c[0])))
    name: str | None = ""
    while name := await database.read(partial(work, values={"after": name})):
        yield name


def _first(
    connection: Connection, statement: Select[tuple[str]], values: dict[str, str]
) -> str | None:
    row = connection.execute(statement, values).one()
    return None if row[0] is None else str(row[0])
