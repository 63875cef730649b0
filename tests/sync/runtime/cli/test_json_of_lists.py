"""Every command that lists prints one JSON document with `--json`, in both programs."""

from collections.abc import Iterator

import pytest
from typer._click import Command
from typer.core import TyperGroup

import agent.cli
import sync.receiver.cli
from sync.runtime.cli.command_group import LazyCommand
from tests.support.processes import ROOT

PROGRAMS = {
    "loyalty-agent": agent.cli.COMMANDS,
    "loyalty-hq": sync.receiver.cli.COMMANDS,
}
SERVES = "it serves and logs; its log can be JSON"
CHANGES = "it changes something and confirms that in a sentence"
WRITES = "its result is a file"
# Commands that list nothing. A new command has `--json`, or stands here with the reason.
LISTS_NOTHING = {
    "loyalty-agent run": SERVES,
    "loyalty-agent sandbox": SERVES,
    "loyalty-agent check-config": "it checks; the settings that it shows are for people",
    "loyalty-agent drill": "a verdict on a rehearsal, with its counts: the exit code says it",
    "loyalty-agent support-bundle": WRITES,
    "loyalty-agent backup": WRITES,
    "loyalty-agent export": WRITES,
    "loyalty-agent sync": CHANGES,
    "loyalty-agent join": CHANGES,
    "loyalty-agent rotate-key": CHANGES,
    "loyalty-agent salvage": CHANGES,
    "loyalty-agent dead-letters retry": CHANGES,
    "loyalty-agent dead-letters set-aside": CHANGES,
    "loyalty-agent dead-letters discard": CHANGES,
    "loyalty-hq serve": SERVES,
    "loyalty-hq check-config": "it checks; the settings that it shows are for people",
    "loyalty-hq enroll": "a token alone, or the CSV of a list of machines, for another program",
    "loyalty-hq revoke": CHANGES,
    "loyalty-hq gaps acknowledge": CHANGES,
    "loyalty-hq epochs acknowledge": CHANGES,
    "loyalty-hq export": "its formats are csv, jsonl and parquet",
    "loyalty-hq import": CHANGES,
    "loyalty-hq keys": "one key, for another program",
    "loyalty-hq backup": WRITES,
    "loyalty-hq migrate-database": CHANGES,
}


def _commands(path: str, command: Command) -> Iterator[tuple[str, Command]]:
    """Yield the command, or the commands of a group, under the names that a person types."""
    if isinstance(command, TyperGroup):
        for name, nested in command.commands.items():
            yield from _commands(f"{path} {name}", nested)
    else:
        yield path, command


def _all_commands() -> Iterator[tuple[str, Command]]:
    for program, commands in PROGRAMS.items():
        for name, lazy in commands.items():
            yield from _commands(f"{program} {name}", lazy.load(name))


ALL_COMMANDS = dict(_all_commands())


@pytest.mark.parametrize("path", ALL_COMMANDS)
def test_a_command_has_json_or_lists_nothing(path: str) -> None:
    has_json = any("--json" in one.opts for one in ALL_COMMANDS[path].params)

    assert has_json or path in LISTS_NOTHING


def test_the_walk_reaches_nested_commands_of_both_programs() -> None:
    assert {"loyalty-agent dead-letters list", "loyalty-hq gaps list"} <= ALL_COMMANDS.keys()
    assert all(isinstance(one, LazyCommand) for each in PROGRAMS.values() for one in each.values())


def test_every_command_with_json_is_on_the_page() -> None:
    page = (ROOT / "docs" / "json.md").read_text("utf-8")
    with_json = [
        path
        for path, command in ALL_COMMANDS.items()
        if any("--json" in one.opts for one in command.params)
    ]
    assert [path for path in with_json if f"`{path}`" not in page] == []
