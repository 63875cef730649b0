"""`loyalty-agent support-bundle`: file, output and exit codes."""

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from agent.cli import app
from tests.agent.support_bundle.unpacking import members_of
from tests.support.agent.in_process import agent_in_a_thread, settings_in
from tests.support.agent.process import agent
from tests.support.processes import messages

pytestmark = pytest.mark.process


def exit_code_of(file: Path) -> object:
    """Run the command in this process, with a doctor without findings; return its exit code."""
    with pytest.raises(SystemExit) as raised:
        app(["support-bundle", str(file)])
    return raised.value.code


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolate the test from an agent installed on this machine."""
    monkeypatch.setattr("agent.cli.doctor.run_checks", lambda *_: [])
    monkeypatch.setenv("LOYALTY_AGENT__STORAGE__DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("LOYALTY_AGENT__API__PORT", "0")


def test_bundle_without_a_running_agent_is_written_and_notes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "b.tar.gz"

    assert exit_code_of(bundle) == 0

    assert "api.port is 0" in json.loads(members_of(bundle)["status.json"])["unreached"]
    said = capsys.readouterr()
    assert f"{bundle} contains README.txt, machine.json" in said.out
    assert messages(said.err) == ""


def test_bundle_holds_the_status_of_the_running_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent_in_a_thread(settings_in(tmp_path / "state")) as running:
        # Answered once the store is open.
        urlopen(f"http://{running.host}:{running.port}/readyz").close()
        monkeypatch.setenv("LOYALTY_AGENT__API__PORT", str(running.port))
        assert exit_code_of(tmp_path / "b.tar.gz") == 0

    status = json.loads(members_of(tmp_path / "b.tar.gz")["status.json"])
    assert status["storage"]["state"] == "ready"


def test_existing_file_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.tar.gz").write_text("dear")

    assert exit_code_of(tmp_path / "b.tar.gz") == 2
    assert (tmp_path / "b.tar.gz").read_text() == "dear"
    assert "exists already: choose another name" in capsys.readouterr().err


def test_missing_directory_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(tmp_path / "absent" / "b.tar.gz") == 2
    assert "is not a directory" in capsys.readouterr().err


def test_failed_write_exits_with_1_and_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    assert exit_code_of(tmp_path / "b.tar.gz") == 1
    assert f"cannot write {tmp_path}/b.tar.gz (No space left on device)" in capsys.readouterr().err


def test_bundle_holds_the_findings_of_doctor(tmp_path: Path) -> None:
    bundle = tmp_path / "b.tar.gz"

    result = agent("support-bundle", "--new", str(bundle))

    assert (result.returncode, messages(result.stderr)) == (0, "")
    findings = json.loads(members_of(bundle)["doctor.json"])
    assert {"configuration", "integrity", "port"} <= {finding["name"] for finding in findings}
