"""Purge expired hourly rollups, one store at a time."""

from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Delete, delete

from sync.receiver.db.database import Database
from sync.receiver.db.paging import store_ids_in
from sync.receiver.db.statements import hours


async def purge_hours(database: Database, before: datetime) -> None:
    """Delete the hours that started before `before`; the plots show only newer ones.

    Safe to interrupt and to run in two processes at once.
    """
    async for store_id in store_ids_in(database, [hours]):
        old = delete(hours).where(hours.c.store_id == store_id, hours.c.hour < before)
        await database.write(partial(_execute, statement=old))


def _execute(connection: Connection, statement: Delete) -> None:
    connection.execute(statement)
