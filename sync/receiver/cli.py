"""The commands of `loyalty-hq`; each imports what it needs when it runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sync.receiver.config import Settings

_NAME = "loyalty-hq"


class ExitCode(IntEnum):
    """What the receiver's commands tell a script."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration file (TOML)."),
]

app = typer.Typer(
    name=_NAME,
    add_completion=False,
    no_args_is_help=True,
    # The library's own decoration costs a third of the start-up time, and its tracebacks show
    # local variables.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command given on the command line and end the process with its exit code."""
    app(prog_name=_NAME)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the value alone
    if wanted:
        from sync.version import installed_version  # noqa: PLC0415 - needed by this option only

        typer.echo(f"{_NAME} {installed_version()}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the captures of all stores at head office."""
    context.obj = config


@app.command()
def serve(context: typer.Context, config: ConfigFile = None) -> None:
    """Take captures until told to stop."""
    settings = _settings(context, config)
    from sync.logs import configure_logging  # noqa: PLC0415 - keeps --help quick
    from sync.receiver.service import run_receiver  # noqa: PLC0415 - as above
    from sync.settings.secret_files import check_files  # noqa: PLC0415 - as above
    from sync.uncaught import log_what_nobody_catches  # noqa: PLC0415 - as above

    with _wrong_configuration_ends_it():
        check_files(settings)
        configure_logging(settings.log.level, settings.log.format)
        log_what_nobody_catches()
        raise SystemExit(run_receiver(settings))


@app.command()
def enroll(
    context: typer.Context,
    store_id: Annotated[str, typer.Argument(help="The store's name.")],
    till_id: Annotated[str, typer.Argument(help="The POS machine's name in the store.")],
    config: ConfigFile = None,
) -> None:
    """Print a new token for the agent on a POS machine.

    A token that it had before ends when the new one is first used.
    """
    settings = _settings(context, config)
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - keeps --help quick

    from sync.receiver.service import enroll as enroll_agent  # noqa: PLC0415 - as above
    from sync.receiver.tokens import AgentName  # noqa: PLC0415 - as above

    name = AgentName(_checked("STORE_ID", store_id), _checked("TILL_ID", till_id))
    try:
        typer.echo(enroll_agent(settings, name))
    except (OSError, SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        typer.echo(f"{_NAME}: {settings.database_name}: cannot be used ({reason})", err=True)
        raise typer.Exit(ExitCode.TROUBLE) from None


def _checked(argument: str, text: str) -> str:
    from sync.settings.kinds import check_name  # noqa: PLC0415 - keeps --help quick

    try:
        return check_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=argument) from None


def _settings(context: typer.Context, config: Path | None) -> "Settings":
    """Return the settings; `--config` counts before the command and after it."""
    from sync.receiver.config import load_settings  # noqa: PLC0415 - keeps --help quick

    with _wrong_configuration_ends_it():
        return load_settings(config or context.obj, os.environ)


@contextmanager
def _wrong_configuration_ends_it() -> Iterator[None]:
    from sync.settings.mistakes import ConfigurationError  # noqa: PLC0415 - keeps --help quick

    try:
        yield
    except ConfigurationError as error:
        typer.echo(f"{_NAME}: {error}", err=True)
        raise typer.Exit(ExitCode.WRONG_USE) from None
