"""The schema of a new SQLite file by script: migrating an empty file takes ten times as long.

The script is recorded from the migrations themselves, once a session. Files with tables and other
migrations than the program's own are migrated for real.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine

from agent.store.db import migrate as agent_schema
from sync.receiver.db import migrate as ledger_schema
from sync.runtime.schema_migration import upgrade

_OURS = {agent_schema.MIGRATIONS, ledger_schema.MIGRATIONS}
_scripts: dict[Path, tuple[str, ...]] = {}


def schema_by_script() -> AbstractContextManager[None]:
    """Create the schema of new files by script until the block ends."""
    return _schema_by(_upgrade)


def schema_by_migrations() -> AbstractContextManager[None]:
    """Create the schema of new files by the migrations again until the block ends."""
    return _schema_by(upgrade)


@contextmanager
def _schema_by(create: Callable[[Connection, Path], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for schema in (agent_schema, ledger_schema):
            patch.setattr(schema, "upgrade", create)
        yield


def _upgrade(connection: Connection, migrations: Path) -> None:
    if migrations not in _OURS or not _is_empty(connection):
        upgrade(connection, migrations)
        return
    for statement in _script(migrations):
        connection.exec_driver_sql(statement)


def _is_empty(connection: Connection) -> bool:
    if connection.dialect.name != "sqlite":
        return False
    tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema")
    return int(tables.scalar_one()) == 0


def _script(migrations: Path) -> tuple[str, ...]:
    if migrations not in _scripts:
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            upgrade(connection, migrations)
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            _scripts[migrations] = tuple(driver.iterdump())[1:-1]  # without BEGIN and COMMIT
        engine.dispose()
    return _scripts[migrations]
