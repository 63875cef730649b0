"""The tables can be sharded by store: checked on the metadata and on PostgreSQL's catalogue."""

from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Table, UniqueConstraint

import sync.receiver.db.migrations
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.tables import LedgerTable
from tests.support.head_office.postgresql import PostgresqlServer, rows_at

TABLES = list(LedgerTable.metadata.tables.values())
SCRIPT = Path(sync.receiver.db.migrations.__path__[0]) / "citus.sql"
# Without Alembic's table: one row that stays on one node.
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
# Stub of Citus: records its calls. `regclass` requires that the table exists.
STAND_IN = """
CREATE TABLE asked (name text, key text, beside text);
CREATE FUNCTION create_distributed_table(name regclass, key text, colocate_with text)
RETURNS void LANGUAGE sql AS 'INSERT INTO asked VALUES (name, key, colocate_with)';
"""


@pytest.fixture
async def url(postgresql_server: PostgresqlServer) -> str:
    """URL of a database with the schema migrated."""
    made = await postgresql_server.new_database()
    database = Postgresql(made)
    await database.open()
    await database.close()
    return made


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_unique_key_starts_with_store_id(table: Table) -> None:
    keys = [list(table.primary_key.columns)]
    keys += [[*index.columns] for index in table.indexes if index.unique]
    keys += [[*one.columns] for one in table.constraints if isinstance(one, UniqueConstraint)]

    assert {key[0].name for key in keys} == {"store_id"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_column_has_a_default_and_no_table_a_foreign_key(table: Table) -> None:
    given = {c.name for c in table.columns if c.default or c.server_default}
    of_old_rows = {"purged_through"}  # a migration's default for existing rows: always 0

    assert given <= of_old_rows
    assert table.foreign_keys == set()


async def test_every_unique_index_on_the_server_starts_with_store_id(url: str) -> None:
    found = await rows_at(url, UNIQUE)

    assert {row[0] for row in found} == {table.name for table in TABLES}
    assert {row[2] for row in found} == {"store_id"}


async def test_server_has_no_sequence_trigger_or_constraint_except_keys(
    url: str,
) -> None:
    assert await rows_at(url, NUMBERED) == []


async def test_citus_script_distributes_every_table_by_store_id(url: str) -> None:
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
