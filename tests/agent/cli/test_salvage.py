"""`loyalty-agent salvage`: a file is copied, salvaged by the running agent, and not changed."""

from pathlib import Path

import pytest

from agent.cli import app, salvage
from agent.config.settings import ApiSettings
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import list_quarantined
from tests.support.agent.in_process import agent_in_a_thread, settings_in
from tests.support.agent.store import crashed_copy, opened, query, record, session

pytestmark = pytest.mark.process


def exit_code_of(file: Path) -> object:
    with pytest.raises(SystemExit) as raised:
        app(["salvage", str(file)])
    return raised.value.code


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return the database of a killed agent, with a WAL."""
    with opened(tmp_path / "live") as store:
        record(store, session("one"), session("two"))
        return crashed_copy(tmp_path / "live", tmp_path / "old") / DATABASE_FILE


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the storage directory of the command and of the agent."""
    monkeypatch.setenv("LOYALTY_AGENT__STORAGE__DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("LOYALTY_AGENT__API__PORT", "0")
    return tmp_path / "state"


def test_captures_of_a_file_are_brought_into_the_running_agent(
    old: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in old.parent.iterdir()}
    with agent_in_a_thread(settings_in(state, api=ApiSettings(port=0))) as agent:
        monkeypatch.setenv("LOYALTY_AGENT__API__PORT", str(agent.port))
        assert exit_code_of(old) == 0
        assert exit_code_of(old) == 0

    said = capsys.readouterr().out
    assert "Salvaged: 2 captures that the agent did not have." in said
    assert "Salvaged: 0 captures" in said
    assert query(state, "SELECT correlation_id FROM session ORDER BY 1") == [("one",), ("two",)]
    assert {file.name: file.read_bytes() for file in old.parent.iterdir()} == before


def test_file_that_is_no_database_is_not_called_salvaged(
    tmp_path: Path,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An archive or an encrypted copy: it would be thrown away, with the captures in it."""
    archive = tmp_path / "agent.db.gz"
    archive.write_bytes(b"\x1f\x8b" + bytes(50_000))
    with agent_in_a_thread(settings_in(state, api=ApiSettings(port=0))) as agent:
        monkeypatch.setenv("LOYALTY_AGENT__API__PORT", str(agent.port))
        assert exit_code_of(archive) == 1
    assert "does not begin as a database" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("min_free_mib", "cause"),
    [(0, "why, is in its log (salvage.postponed)"), (2**40, " MiB more must be free for it in ")],
)
def test_what_a_postponed_salvage_waits_for_is_said(
    old: Path,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    min_free_mib: int,
    cause: str,
) -> None:
    answers = iter((1, 1, 1, 0))
    monkeypatch.setattr(
        salvage, "_counts", lambda _: {"pending": next(answers), "salvaged": 2, "unreadable": 0}
    )
    monkeypatch.setattr(salvage, "_POLL_SECONDS", 0)
    monkeypatch.setattr(salvage, "_PATIENCE_SECONDS", 0)
    monkeypatch.setenv("LOYALTY_AGENT__STORAGE__MIN_FREE_BYTES", str(min_free_mib * 2**20))
    state.mkdir(mode=0o700)
    exit_code_of(old)
    said = capsys.readouterr().err
    assert said.count("You can end this command") == 1
    assert cause in said


def test_file_is_kept_for_an_agent_that_does_not_run(
    old: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(state):
        pass
    assert exit_code_of(old) == 1
    (name,) = list_quarantined(state)
    assert (state / "set-aside" / name / f"{DATABASE_FILE}-wal").exists()
    assert "it is salvaged when the agent runs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.db", "empty.db"])
def test_file_without_content_is_wrong_use(state: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.db").touch()
    assert exit_code_of(tmp_path / name) == 2
    assert not state.exists()


def test_database_of_the_agent_itself_is_wrong_use(state: Path) -> None:
    with opened(state) as store:
        record(store, session("one"))
    assert exit_code_of(state / DATABASE_FILE) == 2
