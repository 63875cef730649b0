"""`status` and `doctor` beside a wrong configuration file: the service runs on an earlier one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import agent.cli
import sync.receiver.cli
from agent.config import Settings
from sync.receiver.config import ReceiverSettings
from sync.runtime.cli import discovery
from sync.runtime.settings.last_working import LastWorking
from sync.runtime.settings.schema import SettingsTree
from tests.agent.cli.test_status import STATUS, canned_server

pytestmark = pytest.mark.process  # doctor asks systemctl
WRONG = "[sync]\nintervall_seconds = 5\n"
MISSING_FILE = '[api]\ntoken_file = "absent"\n'


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(discovery, "ROOT", tmp_path)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Yield the port of a running agent."""
    with canned_server(json.dumps(STATUS).encode()) as (port, _):
        yield port


def installed(machine: Path, model: type[SettingsTree], worked: str, now: str) -> Path:
    """Install a service that last started with `worked` and has the file `now`."""
    file, state = (machine / one / model.program_name for one in ("etc", "var/lib"))
    for directory in (file, state):
        directory.mkdir(parents=True, mode=0o700)
    file = file / "config.toml"
    file.write_text(worked)
    environ = {"STATE_DIRECTORY": str(state)}
    configuration = LastWorking(model, file, environ, str(state))
    configuration.settings()
    configuration.save()
    file.write_text(now)
    return file


def run(app: typer.Typer, *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("wrong", [WRONG, MISSING_FILE], ids=["setting", "file"])
@pytest.mark.parametrize("command", [("status",), ("status", "--check"), ("sync",)], ids=" ".join)
def test_command_asks_the_agent_that_runs_and_says_which_configuration_it_has(
    machine: Path, port: int, wrong: str, command: tuple[str, ...]
) -> None:
    file = installed(machine, Settings, f"[api]\nport = {port}\n", wrong)
    result = run(agent.cli.app, *command)
    assert str(file) in result.stderr
    assert ("line 2" if wrong == WRONG else "absent") in result.stderr
    assert "last configuration that worked, that of 20" in result.stderr
    assert f"service: 127.0.0.1 port {port}" in result.stderr
    assert "OK" in result.stdout if "--check" in command else result.exit_code == 0
    if command == ("status",):
        assert "storeId: 0042" in result.stdout


def test_doctor_of_the_agent_checks_what_runs_and_reports_the_wrong_file_as_a_fault(
    machine: Path, port: int
) -> None:
    file = installed(machine, Settings, f"[api]\nport = {port}\n", WRONG)
    result = run(agent.cli.app, "doctor", "--json")
    found = {one["name"]: one for one in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 2
    assert found["configuration"]["verdict"] == "fault"
    assert f"{file}, line 2" in found["configuration"]["found"]
    assert "systemctl reload loyalty-agent" in found["configuration"]["advice"]
    assert str(machine / "var/lib/loyalty-agent") in found["storage directory"]["found"]
    assert "that of 20" in result.stderr


def test_doctor_of_head_office_checks_what_runs_and_reports_the_wrong_file_as_a_fault(
    machine: Path,
) -> None:
    wrong = "[intake]\nmax_in_fligt = 5\n"
    file = installed(machine, ReceiverSettings, "[server]\nport = 0\n", wrong)
    result = run(sync.receiver.cli.app, "doctor", "--json", "--new")
    found = {one["name"]: one for one in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 2
    assert f"{file}, line 2" in found["configuration"]["found"]
    assert "database" in found


def test_without_a_copy_the_errors_are_all_that_there_is(machine: Path) -> None:
    file = machine / "etc/loyalty-agent/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(WRONG)
    for command in ("status", "doctor"):
        result = run(agent.cli.app, command)
        assert result.exit_code == 2
        assert "line 2" in result.stderr
        assert "last configuration" not in result.stderr
