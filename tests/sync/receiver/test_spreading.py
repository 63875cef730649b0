"""The tables spread over machines by store: their metadata, and a real PostgreSQL's catalogue."""

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Table, UniqueConstraint

import sync.receiver.db.migrations
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.tables import Ledger
from tests.head_office.postgresql import PostgresqlServer, rows_at

TABLES = list(Ledger.metadata.tables.values())
SCRIPT = Path(sync.receiver.db.migrations.__path__[0]) / "citus.sql"
# Without what Alembic keeps: one row, that stays on one machine.
UNIQUE = """
SELECT c.relname, k.relname, a.attname FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class k ON k.oid = i.indexrelid
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique
AND c.relname <> 'alembic_version'
"""
NUMBERED = """
SELECT relname::text FROM pg_class
WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
UNION ALL
SELECT conname::text FROM pg_constraint
WHERE contype NOT IN ('p', 'n') AND connamespace = 'public'::regnamespace
UNION ALL
SELECT tgname::text FROM pg_trigger
"""
# In place of Citus, which is not here: notes what it is asked, of a table that must exist.
STAND_IN = """
CREATE TABLE asked (name text, key text, beside text);
CREATE FUNCTION create_distributed_table(name regclass, key text, colocate_with text)
RETURNS void LANGUAGE sql AS 'INSERT INTO asked VALUES (name, key, colocate_with)';
"""


@pytest.fixture
async def url(postgresql_server: PostgresqlServer) -> str:
    """The URL of a database on which a receiver was started."""
    made = await postgresql_server.new_database()
    database = Postgresql(made)
    await database.open()
    await database.close()
    return made


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_whatever_is_unique_is_so_within_a_store(table: Table) -> None:
    keys = [list(table.primary_key.columns)]
    keys += [[*index.columns] for index in table.indexes if index.unique]
    keys += [[*one.columns] for one in table.constraints if isinstance(one, UniqueConstraint)]

    assert {key[0].name for key in keys} == {"store_id"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_nothing_is_numbered_by_the_database_or_tied_to_another_table(table: Table) -> None:
    given = {c.name for c in table.columns if c.default or c.server_default}
    of_old_rows = {"purged_through"}  # what a migration gave the rows that were there: always 0

    assert given <= of_old_rows
    assert table.foreign_keys == set()


async def test_all_that_the_server_holds_unique_begins_with_the_store(url: str) -> None:
    found = await rows_at(url, UNIQUE)

    assert {row[0] for row in found} == {table.name for table in TABLES}
    assert {row[2] for row in found} == {"store_id"}


async def test_the_server_has_no_sequence_no_trigger_and_no_constraint_but_the_keys(
    url: str,
) -> None:
    assert await rows_at(url, NUMBERED) == []


async def test_the_script_distributes_every_table_by_store_beside_the_first(url: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute(STAND_IN)
    await connection.execute(SCRIPT.read_text())
    await connection.close()

    asked = await rows_at(url, "SELECT * FROM asked")

    first, *others = asked
    assert {row[0] for row in asked} == {table.name for table in TABLES}
    assert {row[1] for row in asked} == {"store_id"}
    assert first[2] == "none"
    assert {row[2] for row in others} == {first[0]}
