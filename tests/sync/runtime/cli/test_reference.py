"""Manual pages and completion of both programs: complete, well-formed, and nothing is started."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.cli import COMMANDS as AGENT_COMMANDS
from agent.cli import app as agent
from sync.receiver.cli import COMMANDS as HQ_COMMANDS
from sync.receiver.cli import app as hq
from sync.runtime.cli.reference.commands import CommandReference, reference_of
from sync.runtime.cli.reference.completion import (
    bash_completion,
    fish_completion,
    zsh_completion,
)
from sync.runtime.cli.reference.manual import Edition, command_page, configuration_page
from tests.support.processes import ROOT

EDITION = Edition("1.0.0", "2026-03-04")
EXAMPLE = (ROOT / "config.example.toml").read_text()
# Runs the completion of bash for the words given, the last of which is being typed.
BASH = """
compopt() { :; }
source "$0"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"_${1//-/_}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
# The same of zsh: its completion system is replaced by functions that print what they are given.
ZSH = """
_describe() { print -l -- "${(@P)3}"; }
_files() { print FILES; }
compadd() { shift; print -l -- "$@"; }
_message() { :; }
script=$1; shift
words=("$@"); CURRENT=$#
complete_it() { source $script; }
complete_it
"""


@pytest.fixture(scope="module", params=["loyalty-agent", "loyalty-hq"])
def program(request: pytest.FixtureRequest) -> CommandReference:
    return of(request.param)


def of(name: str) -> CommandReference:
    if name == "loyalty-agent":
        return reference_of(name, agent, AGENT_COMMANDS)
    return reference_of(name, hq, HQ_COMMANDS)


def pages(program: CommandReference) -> dict[str, str]:
    name = program.words[0]
    found = {f"{name}-config.5": configuration_page(name, EXAMPLE.partition("\n#|")[0], EDITION)}
    for command in program.walk():
        found[f"{'-'.join(command.words)}.1"] = command_page(command, program, EDITION)
    return found


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def complete_bash(place: Path, *words: str, path: str | None = None) -> list[str]:
    script = place / "completion"
    script.write_text(bash_completion(of(words[0])))
    return run(tool("bash"), "--norc", "-c", BASH, str(script), *words, home=place, path=path)


def complete_zsh(place: Path, *words: str) -> list[str]:
    script = place / "completion"
    script.write_text(zsh_completion(of(words[0])))
    found = run(tool("zsh"), "-f", "-c", ZSH, "zsh", str(script), *words, home=place)
    return [line.partition(":")[0] for line in found]


def complete_fish(place: Path, *words: str) -> list[str]:
    script = place / "completion"
    script.write_text(fish_completion(of(words[0])))
    asked = f"source {script}; complete -C '{' '.join(words)}'"
    found = run(tool("fish"), "--no-config", "-c", asked, home=place)
    return [line.partition("\t")[0] for line in found]


SHELLS = pytest.mark.parametrize("complete", [complete_bash, complete_zsh, complete_fish])
Complete = Callable[..., list[str]]


def run(*command: str, home: Path, path: str | None = None) -> list[str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path or os.environ["PATH"], "HOME": str(home)},
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if line]


def test_every_command_and_option_has_its_place_in_a_manual_page(program: CommandReference) -> None:
    written = pages(program)
    for command in program.walk():
        page = written[f"{'-'.join(command.words)}.1"].replace("\\-", "-").replace("\\:", "")
        for parameter in (*command.options, *command.arguments):
            assert parameter.usage in page
        assert all("-".join(one.words) in page for one in command.commands)


def test_options_and_choices_are_those_of_the_commands() -> None:
    (export,) = (one for one in of("loyalty-hq").walk() if one.words[1:] == ("export",))
    options = {name: option for option in export.options for name in option.names}
    assert options["--format"].choices == ("csv", "jsonl", "parquet")
    assert options["--output"].is_file
    assert not options["--for-spreadsheet"].takes_value


def test_configuration_page_has_every_setting() -> None:
    page = pages(of("loyalty-agent"))["loyalty-agent-config.5"].replace("\\-", "-")
    for line in EXAMPLE.partition("\n#|")[0].splitlines():
        if "=" in line and not line.startswith("#"):
            assert line.partition(" =")[0] in page


@pytest.mark.process
def test_manual_pages_have_no_warnings(program: CommandReference, tmp_path: Path) -> None:
    checker = tool("mandoc")
    for name, text in pages(program).items():
        (tmp_path / name).write_text(text)
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(
        (checker, "-Tlint", "-Wwarning", *files), capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


@pytest.mark.process
@SHELLS
def test_commands_complete(complete: Complete, tmp_path: Path) -> None:
    assert {"status", "doctor", "dead-letters"} <= set(complete(tmp_path, "loyalty-agent", ""))


@pytest.mark.process
@SHELLS
def test_commands_of_a_group_complete_and_no_others(complete: Complete, tmp_path: Path) -> None:
    found = set(complete(tmp_path, "loyalty-agent", "dead-letters", ""))
    assert {"list", "show", "retry", "discard"} <= found
    assert "doctor" not in found


@pytest.mark.process
@SHELLS
def test_options_complete_also_after_another_option(complete: Complete, tmp_path: Path) -> None:
    words = ("loyalty-hq", "export", "--format", "csv", "--")
    found = set(complete(tmp_path, *words))
    assert {"--since", "--until", "--output"} <= found
    assert "--reason" not in found


@pytest.mark.process
@SHELLS
def test_values_of_an_option_complete(complete: Complete, tmp_path: Path) -> None:
    found = complete(tmp_path, "loyalty-hq", "export", "--format", "")
    assert found == ["csv", "jsonl", "parquet"]


@pytest.mark.process
def test_completing_starts_no_program(tmp_path: Path) -> None:
    """Not even that whose words complete: it would take a second, and could touch state."""
    witness = tmp_path / "started"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("loyalty-agent", "loyalty-hq", "python3"):
        (programs / name).write_text(f"#!/bin/sh\ntouch {witness}\n")
        (programs / name).chmod(0o755)
    found = complete_bash(tmp_path, "loyalty-agent", "st", path=str(programs))
    assert found == ["status"]
    assert not witness.exists()
