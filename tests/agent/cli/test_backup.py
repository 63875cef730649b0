"""`loyalty-agent backup`: a consistent, private copy beside a running agent, or none at all."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.db.connect import DATABASE_FILE
from tests.support.agent.process import agent
from tests.support.agent.store import (
    ADDRESS,
    answer,
    change,
    crashed_copy,
    opened,
    record,
    session,
)
from tests.support.processes import messages

pytestmark = pytest.mark.process


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def backup(state: Path, file: Path) -> tuple[int, str, str]:
    """Return exit code, output and messages of the command."""
    ended = agent("backup", str(file), LOYALTY_AGENT__STORAGE__DIRECTORY=str(state))
    return ended.returncode, ended.stdout, messages(ended.stderr)


def sessions_in(file: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [name for (name,) in connection.execute("SELECT correlation_id FROM session")]


def test_backup_of_an_open_database_holds_what_is_only_in_its_log(
    state: Path, tmp_path: Path
) -> None:
    with opened(state) as store:
        record(store, session("one"), session("two"))

        code, output, errors = backup(state, tmp_path / "copy.db")

    assert (code, errors) == (0, "")
    assert sessions_in(tmp_path / "copy.db") == ["one", "two"]
    assert "all captures up to epoch-1/2, 2 captures of them not delivered" in output


def test_backup_counts_a_deferred_capture_as_not_delivered(state: Path, tmp_path: Path) -> None:
    with opened(state) as store:
        record(store, session("one"), session("two"))
    change(
        state,
        "INSERT OR REPLACE INTO destination (name, watermark) VALUES ('central', 2)",
        "INSERT INTO delivery VALUES ('central', 2, 1)",
        "INSERT INTO dead_letter (destination, position, error_code, error_message, refused_at_us,"
        " attempts, stuck_since_us) VALUES ('central', 1, 'NO_VERDICT', '', 1, 1, 1)",
    )

    _, output, _ = backup(state, tmp_path / "copy.db")

    assert "all captures up to epoch-1/2, 1 capture of them not delivered" in output


def test_backup_of_a_stopped_agent_leaves_no_file_beside_the_database(
    state: Path, tmp_path: Path
) -> None:
    with opened(state) as store:
        record(store, session("one"))
    before = sorted(state.iterdir())

    code, _, _ = backup(state, tmp_path / "copy.db")

    assert code == 0
    assert sessions_in(tmp_path / "copy.db") == ["one"]
    assert sorted(state.iterdir()) == before


def test_backup_after_a_crash_holds_the_commits_in_the_log(state: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "live") as store:
        record(store, session("one"))
        crashed_copy(tmp_path / "live", state)

    assert backup(state, tmp_path / "copy.db")[0] == 0

    assert sessions_in(tmp_path / "copy.db") == ["one"]


def test_backup_is_private_and_says_that_the_key_is_not_in_it(state: Path, tmp_path: Path) -> None:
    with opened(state) as store:
        record(store, session(), answer())
        key = (state / "encryption.key").read_bytes().strip()

    _, output, _ = backup(state, tmp_path / "copy.db")

    copy = tmp_path / "copy.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert ADDRESS.encode() not in copy.read_bytes()
    assert key not in copy.read_bytes()
    assert "The encryption key is not in it" in output
    assert str(state / "encryption.key") in output


def test_backup_refuses_an_existing_file_and_a_link(state: Path, tmp_path: Path) -> None:
    with opened(state) as store:
        record(store, session())
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    results = [backup(state, tmp_path / name) for name in ("taken", "link")]

    assert [code for code, _, _ in results] == [2, 2]
    assert all("exists already" in errors for _, _, errors in results)
    assert (tmp_path / "taken").read_text() == "mine"


def test_backup_refuses_the_storage_directory_also_through_a_link(
    state: Path, tmp_path: Path
) -> None:
    with opened(state) as store:
        record(store, session())
    (tmp_path / "link").symlink_to(state)
    (state / "below").mkdir()
    before = sorted(state.iterdir())

    places = (state, state / "below", tmp_path / "link")
    results = [backup(state, place / "copy.db") for place in places]

    assert [code for code, _, _ in results] == [2, 2, 2]
    assert all("in the directory of the database" in errors for _, _, errors in results)
    assert sorted(state.iterdir()) == before


def test_backup_of_a_damaged_database_is_none(state: Path, tmp_path: Path) -> None:
    with opened(state) as store:
        record(store, *(session(f"{number}") for number in range(200)))
    with (state / DATABASE_FILE).open("r+b") as file:
        file.seek(4096 * 8)
        file.write(b"\xff" * 4096 * 4)

    code, output, errors = backup(state, tmp_path / "copy.db")

    assert (code, output) == (1, "")
    assert "no backup was made: the database is damaged" in errors
    assert list(tmp_path.glob("*copy.db*")) == []


def test_backup_of_no_database_is_wrong_use(state: Path, tmp_path: Path) -> None:
    state.mkdir()

    code, _, errors = backup(state, tmp_path / "copy.db")

    assert code == 2
    assert f"there is no database in {state}" in errors
