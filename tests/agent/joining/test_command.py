"""`loyalty-agent join`: where the code comes from, messages, exit codes."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli import app
from agent.cli.join import command
from agent.cli.join.first_delivery import FirstDelivery, Waiting
from agent.joining.restart_service import Restart, restart_service
from sync.protocol.join_code import JoinCode
from sync.runtime.cli import discovery
from tests.agent.joining.conftest import EXAMPLE, Machine, Office
from tests.support.processes import ROOT, messages
from tests.support.terminal import run_on_terminal

_LINE_ERASED = "\x1b[2K"
CODE = JoinCode("0042", "till-1", "https://127.0.0.1:9", "S" * 25)


async def join(config: Path | None, *arguments: str, given: str = "") -> Result:
    """Run the command as on this machine; `given`: its standard input."""
    named = ("--config", str(config)) if config else ()

    def invoke() -> Result:
        return CliRunner().invoke(app, [*named, "join", *arguments], input=given)

    return await asyncio.to_thread(invoke)


@pytest.mark.parametrize("way", ["argument", "input", "dash", "file"])
async def test_code_comes_from_the_command_line_standard_input_or_a_file(
    office: Office, machine: Machine, tmp_path: Path, way: str
) -> None:
    """On a command line every user of the machine can see it."""
    code = str(await office.issue())
    (tmp_path / "code").write_text(f"{code}\n")
    arguments = {"argument": [code], "dash": ["-"], "file": ["--file", str(tmp_path / "code")]}

    given = code if way in {"input", "dash"} else ""
    result = await join(machine.config, *arguments.get(way, []), given=given)

    assert result.exit_code == 0, result.stderr
    assert f"Joined {office.url} as 0042/till-1" in result.stdout
    assert f"loyalty-agent --config {machine.config} run" in result.stdout
    assert 'token_file = "' in machine.config.read_text()


@pytest.mark.process
async def test_report_does_not_stand_on_the_line_of_the_step_on_a_terminal(
    office: Office, machine: Machine
) -> None:
    """It was printed while the step was displayed, on the same line, and the step again below."""
    code = str(await office.issue())
    program = [sys.executable, "-m", "agent", "--config", str(machine.config), "join", code]

    shown = await asyncio.to_thread(run_on_terminal, program, ROOT, dict(os.environ))

    step, _, report = shown.rpartition("Joined ")
    assert "Writing the settings" in step
    assert "Writing the settings" not in report
    assert step.endswith(_LINE_ERASED)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([str(CODE)[:-1] + "U"], "the join code is mistyped"),
        (["LJ1:0042/till-1@hq"], "the join code is incomplete"),
        ([], "this is not a join code"),
        (["--file", "/nonexistent"], "cannot read /nonexistent"),
        ([str(CODE), "--file", "/nonexistent"], "not both"),
    ],
)
async def test_wrong_use_exits_with_2_and_changes_nothing(
    machine: Machine, arguments: list[str], said: str
) -> None:
    result = await join(machine.config, *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert said in messages(result.stderr)
    assert [file.name for file in machine.config.parent.iterdir()] == ["config.toml"]


async def test_machine_of_another_store_is_refused_without_force(
    office: Office, machine: Machine
) -> None:
    machine.config.write_text(EXAMPLE.replace("unnamed-store", "0043"))
    before = machine.config.read_text()
    code = str(await office.issue())

    refused = await join(machine.config, code)
    unchanged = machine.config.read_text()
    forced = await join(machine.config, code, "--force")

    assert (refused.exit_code, unchanged) == (2, before)
    assert 'store_id is "0043", and the code is for "0042"' in messages(refused.stderr)
    assert forced.exit_code == 0
    assert 'store_id = "0042"' in machine.config.read_text()


async def test_new_file_is_made_where_config_names_one(office: Office, tmp_path: Path) -> None:
    result = await join(tmp_path / "new.toml", str(await office.issue()))

    assert result.exit_code == 0, result.stderr
    assert 'store_id = "0042"' in (tmp_path / "new.toml").read_text()


async def test_machine_without_a_service_is_asked_for_the_file(tmp_path: Path) -> None:
    result = await join(None, str(CODE))

    assert result.exit_code == 2
    assert "--config FILE" in messages(result.stderr)


async def test_wrong_configuration_is_named_and_left_alone(machine: Machine) -> None:
    machine.config.write_text(f"{EXAMPLE}\n[apy]\nport = 1\n")

    result = await join(machine.config, str(CODE))

    assert result.exit_code == 2
    assert "apy" in result.stderr
    assert machine.config.read_text().endswith("[apy]\nport = 1\n")


@pytest.fixture
def installed(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine's configuration as that of the installed service, which systemd runs."""
    place = tmp_path / "root" / "etc" / "loyalty-agent"
    place.parent.mkdir(parents=True)
    machine.config.parent.rename(place)
    monkeypatch.setattr(discovery, "ROOT", tmp_path / "root")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place / "credentials"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(command, "restart_service", systemctl(tmp_path, 0, 0, 0))
    return Machine(place / "config.toml")


def systemctl(booted: Path, *codes: int) -> Callable[..., Restart]:
    """Return a restart for which systemctl exits with these codes, one after the other."""
    ends = iter(codes)

    def restart(_: object, *, is_service: bool) -> Restart:
        return restart_service(lambda _: next(ends), is_service=is_service, booted=booted)

    return restart


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (FirstDelivery(True, "Delivered: 3 captures, none is waiting."), 0, "Delivered: 3"),
        (FirstDelivery(False, "no delivery within 120 s: no network"), 1, "no network"),
    ],
)
async def test_installed_service_is_found_restarted_and_its_first_delivery_reported(
    office: Office,
    installed: Machine,
    monkeypatch: pytest.MonkeyPatch,
    found: FirstDelivery,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(Waiting, "wait", lambda _: found)

    result = await join(None, str(await office.issue()))

    assert result.exit_code == code
    assert said in messages(result.stdout + result.stderr)
    assert await office.accepts(installed.token) is not None
    assert 'token_file = "credential:central-token"' in installed.config.read_text()


async def test_restart_that_fails_exits_with_1_and_names_the_log(
    office: Office, installed: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "restart_service", systemctl(tmp_path, 0, 0, 1))

    result = await join(None, str(await office.issue()))

    assert result.exit_code == 1
    assert "journalctl -u loyalty-agent" in messages(result.stderr)
