"""Schema migration: migrations match the tables, go forward only, and back up the old file."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from sync.receiver.db import migrate as schema
from sync.receiver.db.migrate import MIGRATIONS, NEWEST_REVISION
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.tables import LedgerTable
from tests.support.sqlite import describe_schema

FILE = "hq.db"
NEXT_REVISION = f"{int(NEWEST_REVISION) + 1:04}"
COPY = f"{FILE}.before-{NEXT_REVISION}"
pytestmark = pytest.mark.usefixtures("real_migrations")
NEXT = '''"""The next schema."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.add_column("tokens", sa.Column("more", sa.Text))
    {more}
'''


def next_migration(more: str = "") -> str:
    return NEXT.format(revision=NEXT_REVISION, before=NEWEST_REVISION, more=more)


async def opened_once(file: Path) -> None:
    """Open a receiver's database and close it."""
    database = SqliteFile(file)
    try:
        await database.open()
    finally:
        await database.close()


def query(file: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection, connection:
        return connection.execute(statement).fetchall()


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """Database file as the current version leaves it after a crash, with rows in the WAL."""
    asyncio.run(opened_once(tmp_path / "made" / FILE))
    (tmp_path / "old").mkdir()
    made, old = tmp_path / "made" / FILE, tmp_path / "old" / FILE
    with closing(sqlite3.connect(made)) as connection, connection:
        connection.execute("INSERT INTO tokens VALUES ('0042', 'till-1', 'hash', 1, '', NULL)")
        connection.commit()
        for part in tmp_path.glob(f"made/{FILE}*"):
            shutil.copy(part, old.parent)
    assert old.with_name(f"{FILE}-wal").stat().st_size > 0
    return old


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Patch the program into a next version with one more revision; return the revision's file."""
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "MIGRATIONS", migrations)
    monkeypatch.setattr(schema, "NEWEST_REVISION", NEXT_REVISION)
    file = migrations / "versions" / f"r{NEXT_REVISION}_next.py"
    file.write_text(next_migration())
    return file


def test_newest_revision_is_the_head_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST_REVISION]


async def test_fresh_file_matches_the_tables(tmp_path: Path) -> None:
    await opened_once(tmp_path / FILE)
    said = create_engine(f"sqlite:///{tmp_path / 'said.db'}")
    LedgerTable.metadata.create_all(said)
    said.dispose()

    assert describe_schema(tmp_path / FILE) == describe_schema(tmp_path / "said.db")


def test_fresh_file_leaves_no_copy(tmp_path: Path) -> None:
    asyncio.run(opened_once(tmp_path / FILE))

    assert not list(tmp_path.glob("*.before-*"))


def test_older_file_is_migrated_with_its_rows(old_file: Path, next_version: Path) -> None:
    asyncio.run(opened_once(old_file))

    assert query(old_file, "SELECT store_id, more FROM tokens") == [("0042", None)]
    assert query(old_file, "SELECT version_num FROM alembic_version") == [(NEXT_REVISION,)]


def test_older_file_is_backed_up_before_migration(old_file: Path, next_version: Path) -> None:
    """Including rows that were only in its WAL."""
    before = describe_schema(old_file)

    asyncio.run(opened_once(old_file))

    copy = old_file.with_name(COPY)
    assert describe_schema(copy) == before
    assert query(copy, "SELECT store_id FROM tokens") == [("0042",)]
    assert query(copy, "SELECT version_num FROM alembic_version") == [(NEWEST_REVISION,)]


def test_current_file_is_not_backed_up(old_file: Path) -> None:
    asyncio.run(opened_once(old_file))

    assert not list(old_file.parent.glob("*.before-*"))


def test_failed_migration_leaves_the_file_unchanged(old_file: Path, next_version: Path) -> None:
    next_version.write_text(next_migration('op.execute("SELECT nothing")'))
    before = describe_schema(old_file)

    with pytest.raises(OperationalError, match="nothing"):
        asyncio.run(opened_once(old_file))

    assert describe_schema(old_file) == before
    assert query(old_file, "SELECT version_num FROM alembic_version") == [(NEWEST_REVISION,)]


def test_failed_backup_stops_the_migration(old_file: Path, next_version: Path) -> None:
    old_file.with_name(COPY).mkdir()

    with pytest.raises(OSError, match=f"before-{NEXT_REVISION}"):
        asyncio.run(opened_once(old_file))

    assert query(old_file, "SELECT version_num FROM alembic_version") == [(NEWEST_REVISION,)]


def test_newer_schema_is_left_unchanged(old_file: Path) -> None:
    """After a program downgrade; works because migrations only add."""
    query(old_file, "UPDATE alembic_version SET version_num = '9999'")

    asyncio.run(opened_once(old_file))

    assert query(old_file, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_path_with_url_characters_is_opened(tmp_path: Path) -> None:
    await opened_once(tmp_path / "100% sure? #1" / FILE)

    assert (tmp_path / "100% sure? #1" / FILE).is_file()
