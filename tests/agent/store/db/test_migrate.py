"""Schema migration: equal to the tables, forward only, with a copy of the old file."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Table, create_engine
from sqlmodel import SQLModel

from agent.store.db import migrate as schema
from agent.store.db import tables
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.migrate import ADDED, MIGRATIONS, NEWEST_REVISION, migrate, revision_of
from agent.store.db.tables import table_of
from tests.support.agent.store import EpochIds, change, opened, query, record, session
from tests.support.sqlite import describe_schema

FOLLOWING_REVISION = f"{int(NEWEST_REVISION) + 1:04}"
COPY = f"{DATABASE_FILE}.before-{FOLLOWING_REVISION}"
pytestmark = pytest.mark.usefixtures("real_migrations")
NEXT = f'''"""The next schema."""

import sqlalchemy as sa
from alembic import op

revision = "{FOLLOWING_REVISION}"
down_revision = "{NEWEST_REVISION}"


def upgrade() -> None:
    op.add_column("session", sa.Column("more", sa.Text))
    {{more}}
'''


def our_tables() -> list[Table]:
    """Return the agent's tables only: others may share SQLModel's registry."""
    models = [
        model
        for model in vars(tables).values()
        if isinstance(model, type) and issubclass(model, SQLModel) and hasattr(model, "__table__")
    ]
    return [table_of(model) for model in models]


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Add one more revision, as the next version would; return its file."""
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "NEWEST_REVISION", FOLLOWING_REVISION)
    file = migrations / "versions" / f"r{FOLLOWING_REVISION}_next.py"
    file.write_text(NEXT.format(more=""))
    return file


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """Return the directory of a store of the current version with one capture."""
    directory = tmp_path / "state"
    with opened(directory) as store:
        record(store, session("old"))
    return directory


def test_newest_revision_is_the_head_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST_REVISION]


def test_each_revision_is_recognised_by_what_it_added() -> None:
    """A recorded revision that is gone or too old is restored from the tables."""
    scripts = Config()
    scripts.set_main_option("script_location", str(MIGRATIONS))
    revisions = [
        script.revision for script in ScriptDirectory.from_config(scripts).walk_revisions()
    ]
    assert [revision for revision, _, _ in ADDED] == revisions


def test_migrated_schema_equals_the_tables(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    engine = create_engine(f"sqlite:///{tmp_path / 'said.db'}")
    SQLModel.metadata.create_all(engine, tables=our_tables())
    engine.dispose()
    assert describe_schema(tmp_path / DATABASE_FILE) == describe_schema(tmp_path / "said.db")


def test_file_from_a_newer_version_is_used_unchanged(tmp_path: Path) -> None:
    """This happens after a rollback of the program; migrations only add."""
    epochs = EpochIds()
    with opened(tmp_path, epochs) as store:
        record(store, session("one"))
    change(
        tmp_path,
        "UPDATE alembic_version SET version_num = '9999'",
        "ALTER TABLE session ADD COLUMN more TEXT",
        "CREATE TABLE more (position INTEGER PRIMARY KEY) STRICT",
    )
    with opened(tmp_path, epochs) as store:
        record(store, session("one"), session("two"))
    assert query(tmp_path, "SELECT correlation_id, more FROM session") == [
        ("one", None),
        ("two", None),
    ]
    assert query(tmp_path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_older_file_is_copied_and_migrated(old_file: Path, next_version: Path) -> None:
    with opened(old_file) as store:
        record(store, session("new"))
    assert query(old_file, "SELECT correlation_id, more FROM session") == [
        ("old", None),
        ("new", None),
    ]
    with closing(sqlite3.connect(old_file / COPY)) as copy:
        assert copy.execute("SELECT * FROM session").fetchall() == [(1, "old", None, 0)]
        assert revision_of(copy) == NEWEST_REVISION


def test_up_to_date_file_is_not_copied(old_file: Path) -> None:
    with opened(old_file):
        pass
    assert not list(old_file.glob("*.before-*"))


def test_failed_migration_leaves_the_file_unchanged(old_file: Path, next_version: Path) -> None:
    next_version.write_text(NEXT.format(more='op.execute("SELECT nothing")'))
    with closing(sqlite3.connect(old_file / DATABASE_FILE, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="nothing"):
            migrate(connection, old_file / DATABASE_FILE)
        assert not connection.in_transaction
        assert revision_of(connection) == NEWEST_REVISION
        assert connection.execute("SELECT * FROM session").fetchall() == [(1, "old", None, 0)]


def test_failed_copy_leaves_no_partial_file(
    old_file: Path, next_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is retried every second and must not take up the last free space."""

    class Full(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, **_options: object) -> None:
            target.execute("CREATE TABLE half (copy)")
            raise sqlite3.OperationalError("database or disk is full")

    file = old_file / DATABASE_FILE
    with closing(sqlite3.connect(file, isolation_level=None, factory=Full)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="full"):
            migrate(connection, file)
        assert revision_of(connection) == NEWEST_REVISION
    assert not (old_file / COPY).exists()


def test_numbers_that_had_come_back_before_revision_9_are_kept_as_ranges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "migrations"
    later = shutil.ignore_patterns("__pycache__", "r0009*", "r001*")
    shutil.copytree(MIGRATIONS, before, ignore=later)
    monkeypatch.setattr(schema, "MIGRATIONS", before)
    monkeypatch.setattr(schema, "NEWEST_REVISION", "0008")
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)) as connection:
        migrate(connection, tmp_path / DATABASE_FILE)
    lost = "INSERT INTO lost_captures VALUES ('{}', 0, 20, 'x', 1, {}, {}, {}, {})"
    change(
        tmp_path,
        lost.format("e-1", 4, "NULL", 3, 6),
        lost.format("e-2", 0, 7, 0, 2**53),
        "INSERT INTO receipt_alias VALUES (1, 7, 'e-1'), (2, 9, 'e-1'), (3, 8, 'e-3')",
        "INSERT INTO salvaged_number VALUES ('e-1', 10)",
    )
    monkeypatch.setattr(schema, "MIGRATIONS", MIGRATIONS)
    monkeypatch.setattr(schema, "NEWEST_REVISION", NEWEST_REVISION)
    with closing(sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)) as connection:
        migrate(connection, tmp_path / DATABASE_FILE)
    ranges = "SELECT * FROM returned_numbers ORDER BY epoch, first_sequence"
    assert query(tmp_path, ranges) == [("e-1", 5, 7), ("e-1", 9, 10), ("e-3", 8, 8)]
    named = "SELECT epoch, named_through FROM lost_captures ORDER BY epoch"
    assert query(tmp_path, named) == [("e-1", 0), ("e-2", 20)]
