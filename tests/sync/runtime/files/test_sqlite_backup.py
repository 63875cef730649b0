"""A copy of a SQLite database in use: one state of it, complete or absent."""

import os
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sync.runtime.files.sqlite_backup import BackupError, UnfitTarget, back_up

_ROWS = 3_000
NOBODY = 65_534


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "some.db"


@pytest.fixture
def writer(database: Path) -> Iterator[sqlite3.Connection]:
    """Return the connection of a program that has the database open, larger than a few steps."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("CREATE TABLE row (number INTEGER PRIMARY KEY, filling)")
        connection.execute("BEGIN")
        rows = ((os.urandom(4_000),) for _ in range(_ROWS))
        connection.executemany("INSERT INTO row (filling) VALUES (?)", rows)
        connection.execute("COMMIT")
        yield connection


@pytest.fixture
def database_of_a_service() -> Iterator[Path]:
    """An open database of another user, within its reach: the directories of tests are root's."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        database = Path(place) / "state" / "some.db"
        database.parent.mkdir(mode=0o700)
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            connection.execute("CREATE TABLE row (number INTEGER PRIMARY KEY)")
            connection.execute("INSERT INTO row VALUES (1)")
            for one in (database.parent, *database.parent.iterdir()):
                os.chown(one, NOBODY, NOBODY)
            yield database


def rows_in(file: Path) -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM row").fetchone()[0])


def test_commits_during_the_copy_succeed_and_are_not_in_it(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    def show(_: str) -> None:
        writer.execute("INSERT INTO row (filling) VALUES ('later')")

    back_up(database, tmp_path / "copy", show)

    assert rows_in(tmp_path / "copy") == _ROWS
    assert writer.execute("SELECT count(*) > ? FROM row", (_ROWS,)).fetchone() == (1,)


def test_progress_is_shown_in_steps_that_are_synced(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    assert writer
    shown: list[str] = []

    back_up(database, tmp_path / "copy", shown.append)

    assert shown == ["Copying: 68 %", "Copying: 100 %", "Checking the copy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_root_copies_a_services_database_to_where_only_root_may_write(
    database_of_a_service: Path, tmp_path: Path
) -> None:
    private = tmp_path / "of-root"
    private.mkdir(mode=0o700)

    back_up(database_of_a_service, private / "copy", lambda _: None)

    status = (private / "copy").stat()
    assert rows_in(private / "copy") == 1
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
    owners = {one.stat().st_uid for one in database_of_a_service.parent.iterdir()}
    assert owners == {NOBODY}


def test_interrupted_copy_leaves_nothing(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(database, tmp_path / "copy", interrupt)

    assert [one.name for one in tmp_path.iterdir()] == ["state"]
    writer.execute("INSERT INTO row (filling) VALUES ('later')")


def test_copy_without_room_is_refused_before_anything_is_copied(
    database: Path, writer: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert writer
    real = os.fstatvfs

    def nearly_full(descriptor: int) -> os.statvfs_result:
        found = list(real(descriptor))
        found[4] = 1  # f_bavail
        return os.statvfs_result(found)

    monkeypatch.setattr("os.fstatvfs", nearly_full)
    shown: list[str] = []

    with pytest.raises(BackupError, match=r"no room for it: .* bytes needed, .* free"):
        back_up(database, tmp_path / "copy", shown.append)

    assert shown == []
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_file_that_appears_meanwhile_is_not_replaced(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    assert writer
    copy = tmp_path / "copy"

    def take(_: str) -> None:
        copy.write_text("mine")

    with pytest.raises(UnfitTarget, match="exists already"):
        back_up(database, copy, take)

    assert copy.read_text() == "mine"


def test_program_that_starts_during_the_copy_of_a_closed_database_spoils_it(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    writer.close()
    opened = sqlite3.connect(database, isolation_level=None)

    def start(_: str) -> None:
        opened.execute("INSERT INTO row (filling) VALUES ('later')")

    with closing(opened), pytest.raises(BackupError, match="started meanwhile"):
        back_up(database, tmp_path / "copy", start)

    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_copy_is_synced_before_it_gets_its_name(
    database: Path, writer: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert writer
    synced: list[tuple[Path, bool]] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((place, (tmp_path / "copy").exists()))
        real(descriptor)

    monkeypatch.setattr("os.fsync", note)

    back_up(database, tmp_path / "copy", lambda _: None)

    assert not synced[-2][1]
    assert synced[-2][0].name.startswith(".copy.")
    assert synced[-1] == (tmp_path, True)


def left_by_a_kill(database: Path, copy: Path) -> Path:
    """Kill a backup in the middle; return the file that it left."""
    child = os.fork()
    if child == 0:
        back_up(database, copy, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    os.waitpid(child, 0)
    (left,) = copy.parent.glob(".copy-1.*")
    return left


def test_next_backup_removes_what_a_killed_one_left(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    assert writer
    assert left_by_a_kill(database, tmp_path / "copy-1").stat().st_size > 0

    back_up(database, tmp_path / "copy-2", lambda _: None)

    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy-2", "state"]


def test_backup_leaves_the_unfinished_file_of_another_one_that_runs(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    assert writer
    others: list[list[str]] = []

    def second(_: str) -> None:
        if not others:
            others.append([])
            back_up(database, tmp_path / "copy-2", lambda _: None)

    back_up(database, tmp_path / "copy-1", second)

    assert sorted(one.name for one in tmp_path.iterdir()) == ["copy-1", "copy-2", "state"]


def test_backup_leaves_files_of_other_names_and_kinds(
    database: Path, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    assert writer
    (tmp_path / ".notes.part").write_text("mine")
    (tmp_path / ".link.loyalty-part").symlink_to(tmp_path / ".notes.part")
    os.mkfifo(tmp_path / ".pipe.loyalty-part")

    back_up(database, tmp_path / "copy", lambda _: None)

    assert len(list(tmp_path.iterdir())) == 5
    assert (tmp_path / ".notes.part").read_text() == "mine"
