"""A file with the schema by script equals one that the migrations made."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from sync.receiver.config import DATABASE_FILE as LEDGER_FILE
from sync.receiver.db.sqlite import SqliteFile
from tests.support.agent.store import opened
from tests.support.fresh_schema import schema_by_migrations
from tests.support.sqlite import describe_schema


def agent_file(directory: Path) -> Path:
    with opened(directory):
        return directory / DATABASE_FILE


def ledger_file(directory: Path) -> Path:
    async def open_once() -> None:
        database = SqliteFile(directory / LEDGER_FILE)
        await database.open()
        await database.close()

    asyncio.run(open_once())
    return directory / LEDGER_FILE


def everything_in(file: Path) -> tuple[object, ...]:
    with closing(sqlite3.connect(file)) as connection:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
        pragmas = [connection.execute(f"PRAGMA {name}").fetchone() for name in PRAGMAS]
        return describe_schema(file), revision, schema.fetchall(), pragmas


PRAGMAS = ("user_version", "application_id", "page_size", "journal_mode", "auto_vacuum", "encoding")


@pytest.mark.parametrize("create", [agent_file, ledger_file])
def test_schema_by_script_equals_the_migrated_one(
    tmp_path: Path, create: Callable[[Path], Path]
) -> None:
    by_script = create(tmp_path / "script")
    with schema_by_migrations():
        migrated = create(tmp_path / "migrations")

    assert everything_in(by_script) == everything_in(migrated)
