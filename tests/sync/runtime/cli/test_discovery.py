"""Commands find the configuration of the service beside which they run, in both programs."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import agent.cli
import sync.receiver.cli
from agent.cli.client import AGENT
from sync.receiver.cli.hq import HEAD_OFFICE
from sync.runtime.checks import units
from sync.runtime.cli import discovery
from tests.support.agent.process import AGENT as AGENT_COMMAND
from tests.support.agent.process import AgentProcess
from tests.support.head_office.process import HQ, ReceiverProcess
from tests.support.processes import free_port, running_service

NOBODY = 65534
pytestmark = pytest.mark.process  # doctor asks systemctl


@dataclass(frozen=True)
class Command:
    """A command that needs state, its program, and the file that shows that there is some."""

    name: str
    app: typer.Typer
    arguments: tuple[str, ...]
    file: str

    def run(self, *options: str) -> Result:
        """Run it in this process."""
        return CliRunner().invoke(self.app, [*self.arguments, *options])


def of_agent(*arguments: str) -> Command:
    """Return a command of the agent."""
    return Command("loyalty-agent", agent.cli.app, arguments, "agent.mark")


def of_head_office(*arguments: str) -> Command:
    """Return a command of head office."""
    return Command("loyalty-hq", sync.receiver.cli.app, arguments, "hq.db")


ENROLL = of_head_office("enroll", "0042", "till-1")
STATEFUL = [
    of_agent("doctor"),
    of_agent("salvage", "/dev/null"),
    of_agent("support-bundle", "bundle.tar.gz"),
    ENROLL,
    of_head_office("revoke", "0042", "till-1"),
    of_head_office("retire", "0042", "till-1"),
    of_head_office("stores"),
    of_head_office("completeness"),
    of_head_office("gaps", "list"),
    of_head_office("epochs", "list"),
    of_head_office("forget", "guest@example.com"),
    of_head_office("export"),
    of_head_office("audit"),
]
COMMANDS = pytest.mark.parametrize("command", STATEFUL, ids=lambda one: one.arguments[0])
PROGRAMS = pytest.mark.parametrize("name", ["loyalty-agent", "loyalty-hq"])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a service; return the directory that holds `etc`, `var` and `home`."""
    monkeypatch.setattr(discovery, "ROOT", tmp_path)
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("LOYALTY_AGENT__API__PORT", "LOYALTY_HQ__SERVER__PORT"):
        # The usual ports are perhaps those of a service that does run here.
        monkeypatch.setenv(variable, str(free_port()))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def install(machine: Path, name: str, text: str = "") -> Path:
    """Install a configuration as the package does; return the file."""
    file = machine / "etc" / name / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def first_line(result: Result) -> str:
    """Return the first line on standard error."""
    return result.stderr.splitlines()[0]


@COMMANDS
def test_command_uses_configuration_and_state_of_the_installed_service(
    machine: Path, command: Command
) -> None:
    file = install(machine, command.name)
    state = machine / "var/lib" / command.name
    state.mkdir(parents=True)
    (state / command.file).touch()

    result = command.run()

    place = state / "hq.db" if command.name == "loyalty-hq" else state
    assert first_line(result) == f"Configuration: {file}; state: {place}"
    assert not (machine / "home").exists()


@COMMANDS
def test_command_without_service_and_state_makes_none_and_says_what_to_name(
    machine: Path, command: Command
) -> None:
    result = command.run()

    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no state in " in result.stderr
    assert "--config FILE" in result.stderr
    assert "no service is installed or running here" in result.stderr
    assert not (machine / "home").exists()


def test_enrolment_beside_a_service_that_never_ran_makes_no_token(machine: Path) -> None:
    install(machine, "loyalty-hq")

    result = ENROLL.run()

    assert (result.exit_code, result.stdout) == (2, "")
    assert "systemctl enable --now loyalty-hq" in result.stderr
    assert not (machine / "var").exists()


def test_enrolment_makes_new_state_if_asked(machine: Path) -> None:
    first = ENROLL.run("--new")
    again = ENROLL.run()

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert len(first.stdout.split()) == len(again.stdout.split()) == 1
    assert (machine / "home/.local/state/loyalty-hq/hq.db").exists()


def test_doctor_examines_a_machine_without_an_agent_if_asked(machine: Path) -> None:
    result = of_agent("doctor").run("--new")

    assert result.exit_code in {1, 3}
    assert "is created at the first start" in result.stdout
    assert not (machine / "home").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@COMMANDS
def test_command_of_a_user_who_may_not_read_the_installed_configuration_says_who_may(
    machine: Path, command: Command
) -> None:
    file = install(machine, command.name)
    file.chmod(0o600)
    for place in (machine, *machine.parents[:2]):
        place.chmod(place.stat().st_mode | 0o111)
    command.run("--help")  # import everything that it needs as root
    os.seteuid(NOBODY)
    try:
        result = command.run()
    finally:
        os.seteuid(0)

    assert (result.exit_code, result.stdout) == (2, "")
    assert str(file) in result.stderr
    assert f'"runuser -u {command.name} -- {command.name} ..."' in result.stderr


SHOWN = {
    "on an earlier one": (
        "active",
        "Uses the configuration of 2026-03-04T05:06:07.000000Z. Wrong: api.prot",
        "runs on the last configuration that worked, that of 2026-03-04T05:06:07.000000Z.",
    ),
    "since before the change": ("active", "", "runs on the last configuration that worked."),
    "not serving": ("activating", "", ""),
}


@pytest.mark.parametrize(("active", "status", "said"), SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize(
    "command",
    [of_agent("status"), of_agent("doctor"), of_head_office("stores"), of_head_office("doctor")],
    ids=lambda one: f"{one.name} {one.arguments[0]}",
)
def test_command_with_a_wrong_configuration_says_what_the_service_runs_on(
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
    active: str,
    status: str,
    said: str,
) -> None:
    asked: list[Sequence[str]] = []

    def systemctl(words: Sequence[str]) -> str:
        asked.append(words)
        return f"ActiveState={active}\nStatusText={status}\n"

    monkeypatch.setattr(units, "run_command", systemctl)
    monkeypatch.setattr(units, "BOOTED", machine)
    install(machine, command.name, "[api]\nprot = 1\n")

    result = command.run()

    assert (result.exit_code, result.stdout) == (2, "")
    assert "1 error in the configuration" in result.stderr
    unit = f"{command.name}.service"
    assert (f"{unit} {said}" in result.stderr) == bool(said)
    assert ("systemctl reload" in result.stderr) == bool(said)
    assert all(words[-1] == unit for words in asked)


@PROGRAMS
def test_installed_configuration_given_by_name_has_the_state_of_the_service(
    machine: Path, name: str
) -> None:
    file = install(machine, name)
    program = AGENT if name == "loyalty-agent" else HEAD_OFFICE

    _, settings = program.configuration(file)

    assert settings.storage.directory == machine / "var/lib" / name


@PROGRAMS
def test_service_without_any_configuration_uses_the_state_of_its_user(
    machine: Path, name: str
) -> None:
    program = AGENT if name == "loyalty-agent" else HEAD_OFFICE

    found, settings = program.configuration(None)

    assert found.file is None
    assert settings.storage.directory == machine / "home/.local/state" / name


def test_variable_that_names_the_state_allows_to_make_it(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOYALTY_HQ__STORAGE__DIRECTORY", str(machine / "state"))

    result = ENROLL.run()

    assert result.exit_code == 0
    assert first_line(result).endswith(f"state: {machine}/state/hq.db")


async def test_command_finds_the_configuration_of_the_running_agent(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    file = machine / "work/till.toml"
    file.write_text(
        f'[api]\nport = {port}\n[storage]\ndirectory = "here"\n[log]\nformat = "json"\n'
    )
    command = (*AGENT_COMMAND, "--config", str(file), "run")

    async with running_service(AgentProcess, command) as running:
        await running.ready()
        monkeypatch.setenv("LOYALTY_AGENT__API__PORT", str(port))
        result = await asyncio.to_thread(of_agent("doctor").run)

    of_process = f"{file} (of the running process {running.pid})"
    assert first_line(result) == f"Configuration: {of_process}; state: {machine}/work/here"
    assert f"the agent (process {running.pid}) listens" in result.stdout


async def test_command_finds_the_state_of_a_receiver_that_runs_without_a_file(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    variables = {
        "HOME": str(machine / "theirs"),
        "LOYALTY_HQ__SERVER__PORT": str(port),
        "LOYALTY_HQ__LOG__FORMAT": "json",
    }

    async with running_service(ReceiverProcess, (*HQ, "serve"), variables=variables) as running:
        await running.port()
        monkeypatch.setenv("LOYALTY_HQ__SERVER__PORT", str(port))
        result = await asyncio.to_thread(ENROLL.run)

    assert result.exit_code == 0
    assert first_line(result).endswith(f"state: {machine}/theirs/.local/state/loyalty-hq/hq.db")
    assert not (machine / "home").exists()


LISTENS = """\
import socket
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
input()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees processes of another user")
@pytest.mark.parametrize(
    "command", [of_agent("status"), of_agent("doctor"), ENROLL], ids=lambda one: one.arguments[0]
)
def test_root_takes_no_configuration_of_another_users_process(
    machine: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could name a file of root's as the token that root sends to it."""
    secret = machine / "secret"
    secret.write_text("of-root")
    module, section, verb = "agent", "API", "run"
    if command.name == "loyalty-hq":
        module, section, verb = "sync.receiver", "SERVER", "serve"
    prefix = command.name.upper().replace("-", "_")
    theirs = {"LOYALTY_AGENT__API__TOKEN_FILE": str(secret), "STATE_DIRECTORY": str(machine)}

    with subprocess.Popen(
        (sys.executable, "-c", LISTENS, "-m", module, verb),
        user=NOBODY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
        env=theirs,
    ) as process:
        assert process.stdout is not None
        monkeypatch.setenv(f"{prefix}__{section}__PORT", process.stdout.readline().decode().strip())
        result = command.run()
        process.kill()

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"process {process.pid} of {command.name}: nobody runs it" in result.stderr
    assert "--config" in result.stderr


def test_another_program_on_the_port_is_not_taken_for_the_service(machine: Path) -> None:
    service = discovery.ServiceProcess("loyalty-agent", "agent", "run")

    assert service.is_started_by(["/opt/x/python3", "/opt/x/loyalty-agent", "--config", "a", "run"])
    assert service.is_started_by(["python3", "-X", "dev", "-m", "agent", "run"])
    assert not service.is_started_by(["python3", "/opt/x/loyalty-agent", "drill"])
    assert not service.is_started_by(["nginx", "run"])


def test_command_to_the_running_agent_names_the_address_it_asks(machine: Path) -> None:
    file = install(machine, "loyalty-agent", f"[api]\nport = {free_port()}\n")

    result = of_agent("status").run()

    address = f"127.0.0.1 port {AGENT.configuration(None)[1].api.port}"
    assert result.exit_code == 1
    assert first_line(result) == f"Configuration: {file}; service: {address}"
