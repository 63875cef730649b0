"""A group of commands, each imported when it is used.

`--help` and `--version` load no command: importing them all takes about a second, mostly for
settings validation and the database library.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn

import typer
from typer._click.exceptions import ClickException
from typer.core import TyperGroup
from typer.main import get_group

from sync.runtime.cli import translation
from sync.runtime.cli.help_texts import TranslatedContext, translate_help
from sync.runtime.hangup import ignore_hangup, restore_hangup
from sync.runtime.printable import printable

if TYPE_CHECKING:
    from typer._click import Command, Context


def _inherited(context: typer.Context, value: Path | None) -> Path | None:
    """Return the file given after the command name, else the one given before it."""
    config: Path | None = value or context.obj
    context.obj = config
    return config


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", callback=_inherited, help="The configuration file (TOML)."
    ),
]

NewState = Annotated[
    bool, typer.Option("--new", help="Accept that there is no state yet, in this user's place.")
]


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Module of a command, which defines it under its own name, and its line in `--help`.

    A service reloads at SIGHUP, and is not ended by one while it is still being imported.
    `function`: its name in the module, if that of the command is a keyword.
    """

    module: str
    summary: str
    is_service: bool = False
    function: str = ""

    def load(self, name: str) -> "Command":
        """Import the command `name`, a function or a `Typer`."""
        function = self.function or name.replace("-", "_")
        found = getattr(import_module(self.module), function)
        app = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
        return get_group(app).commands[name]


# Takes the message and the words of a wrong command line, before the exit with code 2.
OnWrongUsage = Callable[[str, Sequence[str]], None]


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are used."""

    context_class = TranslatedContext
    lazy_commands: ClassVar[Mapping[str, LazyCommand]]
    on_wrong_usage: ClassVar[OnWrongUsage]
    _words: Sequence[str] = ()

    def resolve_command(
        self, ctx: "Context", args: list[str]
    ) -> "tuple[str | None, Command | None, list[str]]":
        """Import the command that the words name."""
        found, command, rest = super().resolve_command(ctx, args)
        if found:
            command = _load_to_run(self.lazy_commands[found], found)
        return found, command, rest

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        *rest: Any,  # noqa: ANN401 - as inherited
        **named: Any,  # noqa: ANN401 - as inherited
    ) -> "Context":
        """Parse the words before the command."""
        self._words = tuple(args)
        with self._usage_errors():
            return super().make_context(info_name, args, *rest, **named)

    def invoke(self, ctx: "Context") -> object:
        """Parse the words of the command and run it."""
        with self._usage_errors():
            return super().invoke(ctx)

    @contextmanager
    def _usage_errors(self) -> Iterator[None]:
        """Escape quoted arguments in usage errors: a script may pass one from outside."""
        try:
            yield
        except ClickException as error:
            error.message = printable(error.message)
            type(self).on_wrong_usage(error.format_message(), self._words)
            raise


def _load_to_run(lazy: LazyCommand, name: str) -> "Command":
    if lazy.is_service:
        ignore_hangup()
    else:
        restore_hangup()
        _exit_at_signals()
    command = lazy.load(name)
    translate_help(command)
    return command


def _exit_at_signals() -> None:
    """Let a command that is ended by a signal remove its unfinished file, as Ctrl-C does."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not what `nohup` ignores.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)


def command_group(
    name: str,
    summary: str,
    commands: Mapping[str, LazyCommand],
    on_wrong_usage: OnWrongUsage = lambda _message, _words: None,
    *,
    languages: Sequence[Path],
) -> typer.Typer:
    """Return the program `name` with its commands and the options `--config` and `--version`.

    `languages`: directories of its catalogues, from which help and messages are translated.
    """
    for directory in languages:
        translation.add_directory(directory)
    members = {"lazy_commands": commands, "on_wrong_usage": staticmethod(on_wrong_usage)}
    app = typer.Typer(
        name=name,
        cls=type("Program", (LazyGroup,), members),
        add_completion=False,
        no_args_is_help=True,
        # Rich markup costs a third of the start-up time; rich tracebacks show local variables.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def print_version(requested: bool) -> None:  # noqa: FBT001 - typer's callback signature
        if requested:
            from sync.runtime.identity import installed_version  # noqa: PLC0415 - slow to import

            typer.echo(f"{name} {installed_version()}")  # noqa: TID251 - both are our own
            raise typer.Exit

    version_option = typer.Option(
        "--version", callback=print_version, is_eager=True, help="Show the version."
    )

    @app.callback(help=summary)
    def options(
        config: ConfigFile = None, *, version: Annotated[bool, version_option] = False
    ) -> None:
        pass

    for command, lazy in commands.items():
        # For `--help` and "Did you mean"; replaced by the real command when used.
        app.command(command, help=lazy.summary)(lambda: None)
    return app
