"""Statement timeout on PostgreSQL: a limit while serving agents, none for commands."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sync.receiver.db.database import Database
from sync.receiver.db.open import open_database, open_existing_database
from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.receiver import settings_in

CANCELLED = "57014"


def ask(connection: Connection, statement: str) -> str:
    return str(connection.execute(text(statement)).scalar_one())


async def limit_of(database: Database) -> str:
    return await database.read(lambda connection: ask(connection, "SHOW statement_timeout"))


async def test_statement_beyond_the_timeout_is_cancelled(
    postgresql_server: PostgresqlServer,
) -> None:
    database = Postgresql(await postgresql_server.new_database(), statement_seconds=0.1)
    with pytest.raises(DBAPIError) as caught:
        await database.read(lambda connection: ask(connection, "SELECT pg_sleep(60)"))
    await database.close()

    assert getattr(caught.value.orig, "sqlstate", None) == CANCELLED


async def test_serving_has_a_statement_timeout_and_commands_have_none(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, database={"url": await postgresql_server.new_database()})
    async with open_database(settings) as serving, open_existing_database(settings) as commanded:
        limits = await limit_of(serving), await limit_of(commanded)

    assert limits == ("10s", "0")


async def test_commands_plan_each_statement_for_its_values(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    """A plan that was made while the tables were empty read them as a whole for each batch."""
    settings = settings_in(tmp_path, database={"url": await postgresql_server.new_database()})
    async with open_existing_database(settings) as commanded:
        mode = await commanded.read(lambda connection: ask(connection, "SHOW plan_cache_mode"))

    assert mode == "force_custom_plan"
