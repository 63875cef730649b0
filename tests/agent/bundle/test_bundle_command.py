"""`loyalty-agent support-bundle FILE`: what it writes, says, and how it ends."""

import json
from pathlib import Path

import pytest

from agent.cli.commands import app
from tests.agent.agent_under_test import agent_in_a_thread, settings_in
from tests.agent.bundle.unpacking import members_of
from tests.agent.program import agent


def ended(file: Path) -> object:
    """Run the command here, with a doctor that finds nothing; return its exit code."""
    with pytest.raises(SystemExit) as raised:
        app(["support-bundle", str(file)])
    return raised.value.code


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave this machine's own agent out of it."""
    monkeypatch.setattr("agent.doctor.examine", lambda *_: [])
    monkeypatch.setenv("LOYALTY_AGENT__STORAGE__DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("LOYALTY_AGENT__API__PORT", "0")


def test_bundle_of_a_machine_where_no_agent_runs_is_written_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "b.tar.gz"

    assert ended(bundle) == 0

    assert "api.port is 0" in json.loads(members_of(bundle)["status.json"])["unreached"]
    said = capsys.readouterr()
    assert f"{bundle} holds README.txt, machine.json" in said.out
    assert said.err == ""


def test_bundle_holds_the_status_of_the_agent_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent_in_a_thread(settings_in(tmp_path / "state")) as running:
        monkeypatch.setenv("LOYALTY_AGENT__API__PORT", str(running.port))
        assert ended(tmp_path / "b.tar.gz") == 0

    status = json.loads(members_of(tmp_path / "b.tar.gz")["status.json"])
    assert status["storage"]["state"] == "ready"


def test_file_that_is_there_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.tar.gz").write_text("dear")

    assert ended(tmp_path / "b.tar.gz") == 2
    assert (tmp_path / "b.tar.gz").read_text() == "dear"
    assert "is there already: give another name" in capsys.readouterr().err


def test_directory_that_is_not_there_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(tmp_path / "absent" / "b.tar.gz") == 2
    assert "is not a directory" in capsys.readouterr().err


def test_bundle_that_cannot_be_written_ends_with_1_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    assert ended(tmp_path / "b.tar.gz") == 1
    assert "cannot be written (No space left on device)" in capsys.readouterr().err


def test_program_writes_a_bundle_with_the_doctor_s_findings(tmp_path: Path) -> None:
    bundle = tmp_path / "b.tar.gz"

    result = agent("support-bundle", str(bundle))

    assert (result.returncode, result.stderr) == (0, "")
    findings = json.loads(members_of(bundle)["doctor.json"])
    assert {"configuration", "integrity", "port"} <= {finding["name"] for finding in findings}
