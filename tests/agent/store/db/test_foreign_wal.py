"""A restored database beside the log of the one before: neither is mixed into the other."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import list_quarantined
from agent.store.store import Store
from sync.runtime.files.sqlite_backup import back_up
from tests.support.agent.outbox import outbox_on
from tests.support.agent.salvage import salvage_of
from tests.support.agent.store import EpochIds, crashed_copy, opened, query, record, session

NAMES = "SELECT correlation_id FROM session ORDER BY correlation_id"
WAL = f"{DATABASE_FILE}-wal"


@pytest.fixture(scope="module")
def epochs() -> EpochIds:
    """Return ids that no two stores share."""
    return EpochIds()


def names(first: int, last: int) -> list[str]:
    return [f"{number:04}-{'x' * 60}" for number in range(first, last + 1)]


def capture(store: Store, first: int, last: int) -> None:
    for name in names(first, last):
        record(store, session(name))


def copied(database: Path, copy: Path, how: str) -> None:
    if how == "backup":
        back_up(database, copy, lambda _: None)
    else:
        shutil.copyfile(database, copy)


@pytest.fixture(params=["backup", "cp"])
def state(request: pytest.FixtureRequest, epochs: EpochIds, tmp_path: Path) -> Path:
    """Return a directory in which only the main file was restored after a crash.

    Captures 1 to 50 are in the copy, 51 to 150 in neither, 151 to 200 in the log.
    """
    copy, state = tmp_path / "copy.db", tmp_path / "state"
    with opened(tmp_path / "live", epochs) as store:
        capture(store, 1, 50)
        store.checkpoint()
        copied(tmp_path / "live" / DATABASE_FILE, copy, request.param)
        capture(store, 51, 150)
        store.checkpoint()
        capture(store, 151, 200)
        crashed_copy(tmp_path / "live", state)
    (state / f"{DATABASE_FILE}-shm").unlink()
    shutil.copyfile(copy, state / DATABASE_FILE)
    return state


async def test_log_of_another_state_is_set_aside_and_salvaged(
    state: Path, epochs: EpochIds, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(state, epochs=epochs) as rig:
        await rig.writer.check(10)
        await salvage_of(rig).run_once()
        await rig.capture(session("new"))

    with closing(sqlite3.connect(state / DATABASE_FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = [name for (name,) in query(state, NAMES)]
    assert set(found) >= {*names(1, 50), *names(151, 200), "new"}
    assert "store.quarantined" in caplog.messages
    assert "store.captures_lost" in caplog.messages
    assert len(list_quarantined(state)) == 1


def test_restored_backup_is_used_like_any_file_from_then_on(
    epochs: EpochIds, tmp_path: Path
) -> None:
    """After a crash of the restored agent its own log is no stranger's."""
    with opened(tmp_path / "live", epochs) as store:
        capture(store, 1, 5)
        back_up(tmp_path / "live" / DATABASE_FILE, tmp_path / "copy.db", lambda _: None)
    (tmp_path / "restored").mkdir()
    shutil.copyfile(tmp_path / "copy.db", tmp_path / "restored" / DATABASE_FILE)

    with opened(tmp_path / "restored", epochs) as store:
        capture(store, 6, 10)
        crashed_copy(tmp_path / "restored", tmp_path / "crashed")
    with opened(tmp_path / "crashed", epochs) as store:
        capture(store, 11, 15)

    assert [name for (name,) in query(tmp_path / "crashed", NAMES)] == names(1, 15)
    assert list_quarantined(tmp_path / "crashed") == []


def test_log_that_made_the_file_grow_fits_it(epochs: EpochIds, tmp_path: Path) -> None:
    with opened(tmp_path / "live", epochs) as store:
        capture(store, 1, 100)
        store.checkpoint()
        capture(store, 101, 300)
        crashed_copy(tmp_path / "live", tmp_path / "crashed")

    with opened(tmp_path / "crashed", epochs):
        pass

    assert [name for (name,) in query(tmp_path / "crashed", NAMES)] == names(1, 300)
    assert list_quarantined(tmp_path / "crashed") == []
