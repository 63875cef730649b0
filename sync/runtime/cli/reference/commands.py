"""The commands of a program with their arguments and options, as `--help` shows them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from sync.runtime.cli.command_group import LazyCommand

if TYPE_CHECKING:
    from typer._click import Command

_CHOICES = re.compile(r"<([^<>]*\|[^<>]*)>")
_FILES = ("FILE", "PATH", "DIRECTORY")
_HELP = ("-h", "--help")


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument, or an option with all its spellings.

    `usage` is its form in `--help`, `choices` the values that it can have, if they are few.
    """

    names: tuple[str, ...]
    usage: str
    text: str
    takes_value: bool
    choices: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether its value is the name of a file."""
        return self.usage.split()[-1].strip("[]<>").upper() in _FILES


@dataclass(frozen=True, slots=True)
class CommandReference:
    """A command, or a group of commands; `words` is how it is called, with the program."""

    words: tuple[str, ...]
    summary: str
    text: str
    usage: str
    arguments: tuple[Parameter, ...]
    options: tuple[Parameter, ...]
    commands: tuple["CommandReference", ...] = ()

    def walk(self) -> Iterator["CommandReference"]:
        """Yield this command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def reference_of(
    name: str, app: typer.Typer, commands: Mapping[str, LazyCommand]
) -> CommandReference:
    """Return the reference of a program. Imports all its commands, and runs none."""
    program = typer.main.get_command(app)
    loaded = {command: lazy.load(command) for command, lazy in commands.items()}
    return _reference((name,), program, loaded)


def _reference(
    words: tuple[str, ...], command: "Command", commands: Mapping[str, "Command"]
) -> CommandReference:
    context = typer.Context(command, info_name=" ".join(words))
    head, _, rest = (command.help or "").strip().partition("\n")
    arguments: list[Parameter] = []
    options = [Parameter(_HELP, "-h, --help", "Show the help.", takes_value=False)]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or "--help" in parameter.opts:
            continue
        usage, text = record
        found = _CHOICES.search(usage)
        choices = tuple(found[1].split("|")) if found else ()
        is_option = parameter.param_type_name == "option"
        takes_value = not is_option or len(usage.split(", ")[-1].split()) > 1
        names = tuple(parameter.opts) if is_option else (str(parameter.name),)
        made = Parameter(names, usage, text, takes_value, choices)
        (options if is_option else arguments).append(made)
    inner = tuple(
        _reference((*words, name), one, getattr(one, "commands", {}))
        for name, one in commands.items()
    )
    pieces = " ".join(command.collect_usage_pieces(context))
    return CommandReference(
        words, head.strip(), rest.strip(), pieces, tuple(arguments), tuple(options), inner
    )
