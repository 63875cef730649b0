"""Rules that hold for the commands of both programs."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import agent.cli
import sync.receiver.cli
from sync.runtime.cli.command_group import LazyCommand
from tests.support.processes import ROOT, messages, run_command

HEAVY = {"pydantic", "pydantic_settings", "aiohttp", "sqlmodel", "sqlalchemy", "rich", "asyncio"}


@dataclass(frozen=True)
class ProgramUnderTest:
    """A program: its name, its module, its commands, and a mistyped setting."""

    name: str
    module: str
    app: typer.Typer
    commands: dict[str, LazyCommand]
    mistake: str
    setting: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command([sys.executable, "-m", self.module, *arguments], {})


AGENT = ProgramUnderTest(
    *("loyalty-agent", "agent", agent.cli.app, agent.cli.COMMANDS),
    *("[api]\nprot = 1\n", "api.prot"),
)
HEAD_OFFICE = ProgramUnderTest(
    *("loyalty-hq", "sync.receiver", sync.receiver.cli.app, sync.receiver.cli.COMMANDS),
    *("[intake]\nmax_in_fligt = 1\n", "intake.max_in_fligt"),
)
PROGRAMS = pytest.mark.parametrize("program", [AGENT, HEAD_OFFICE], ids=lambda one: one.name)
COMMANDS = pytest.mark.parametrize(
    ("program", "command"),
    [(program, command) for program in (AGENT, HEAD_OFFICE) for command in program.commands],
    ids=lambda one: getattr(one, "name", one),
)


@pytest.mark.process
@PROGRAMS
def test_help_lists_all_commands_without_truncating_summaries(program: ProgramUnderTest) -> None:
    result = program.run("--help")

    listed = result.stdout.partition("Commands:")[2]
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split()[0] for line in listed.split("\n")[1:-1]] == list(program.commands)
    assert "..." not in listed


@pytest.mark.process
@PROGRAMS
def test_help_imports_no_heavy_module(program: ProgramUnderTest) -> None:
    script = f"import sys; sys.argv[1:] = ['--help']\nfrom {program.module}.cli import main\n"
    script += "try: main()\nexcept SystemExit: pass\nprint(*sys.modules)"

    result = run_command([sys.executable, "-c", script], {})

    loaded = set(result.stdout.split())
    assert "typer" in loaded
    assert not loaded & HEAVY


@COMMANDS
def test_summary_of_a_command_is_the_first_sentence_of_its_help(
    program: ProgramUnderTest, command: str
) -> None:
    lazy = program.commands[command]

    loaded: Any = lazy.load(command)

    assert loaded.name == command
    first, _, _ = loaded.help.partition("\n")
    assert first.startswith(lazy.summary.rstrip("."))


@COMMANDS
def test_help_of_a_command_exits_with_0(program: ProgramUnderTest, command: str) -> None:
    result = CliRunner().invoke(program.app, [command, "--help"])

    assert result.exit_code == 0
    assert f"{command} " in result.stdout


@pytest.mark.process
@COMMANDS
def test_help_names_values_and_their_range_in_words(
    program: ProgramUnderTest, command: str
) -> None:
    """No type of the library, no formula."""
    shown = CliRunner().invoke(program.app, [command, "--help"]).stdout
    assert not re.search(r"<(int|float|list|str)|<=|>=", shown)


def test_range_of_an_option_is_shown_in_words() -> None:
    shown = " ".join(CliRunner().invoke(AGENT.app, ["certify", "--help"]).stdout.split())
    assert "--answer-limit N Seconds within which a till gives up. [default: 5.0; from" in shown
    assert "from 0.1 to 60.0]" in shown
    assert "--cors-origin TEXT" in shown
    at_least = CliRunner().invoke(AGENT.app, ["status", "--help"]).stdout
    assert "[at least 0]" in " ".join(at_least.split())


@pytest.mark.process
@PROGRAMS
def test_version_is_printed(program: ProgramUnderTest) -> None:
    result = program.run("--version")

    assert (result.returncode, result.stdout) == (0, f"{program.name} 0.1.0\n")


@PROGRAMS
@pytest.mark.parametrize("arguments", [[], ["dance"], ["--config"], ["--loud"]])
def test_usage_error_exits_with_2(program: ProgramUnderTest, arguments: list[str]) -> None:
    assert CliRunner().invoke(program.app, arguments).exit_code == 2


@COMMANDS
def test_unknown_option_of_a_command_exits_with_2(program: ProgramUnderTest, command: str) -> None:
    result = CliRunner().invoke(program.app, [command, "--loud"])

    assert result.exit_code == 2
    assert "--loud" in result.stderr


def test_mistyped_command_is_suggested() -> None:
    result = CliRunner().invoke(agent.cli.app, ["dead-leters"])

    assert result.exit_code == 2
    assert "Did you mean 'dead-letters'?" in result.stderr


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("program", "command"),
    [
        *((AGENT, [name]) for name in ("run", "check-config", "status", "doctor", "sync")),
        *((HEAD_OFFICE, [name]) for name in ("serve", "stores", "completeness", "export")),
        (HEAD_OFFICE, ["enroll", "0042", "till-1"]),
    ],
)
def test_wrong_configuration_exits_with_2_and_creates_no_file(
    tmp_path: Path, program: ProgramUnderTest, command: list[str], *, before: bool
) -> None:
    file = tmp_path / "program.toml"
    file.write_text(f"[storage]\ndirectory = 'data'\n{program.mistake}")
    option = ["--config", str(file)]
    arguments = [*option, *command] if before else [*command, *option]

    result = CliRunner().invoke(program.app, arguments, prog_name=program.name)

    assert (result.exit_code, result.stdout) == (2, "")
    assert messages(result.stderr).startswith(f"{program.name}: ")
    assert f"{file}, line 4: {program.setting}: there is no such setting" in result.stderr
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.process
@PROGRAMS
@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_closed_pipe_ends_a_command_without_a_traceback(
    program: ProgramUnderTest, arguments: Sequence[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        result = subprocess.run(
            [sys.executable, "-m", program.module, *arguments],
            cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    assert "Traceback" not in result.stderr


def test_config_option_after_the_command_overrides_the_one_before_it(tmp_path: Path) -> None:
    (tmp_path / "right.toml").write_text("store.store_id = '0042'\n")
    wrong, right = str(tmp_path / "absent"), str(tmp_path / "right.toml")

    result = CliRunner().invoke(
        agent.cli.app, ["--config", wrong, "check-config", "--config", right]
    )

    assert result.exit_code == 0
    assert "store.store_id: 0042" in result.stdout
