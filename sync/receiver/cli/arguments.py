"""Shared by all commands: the `--config` option, exit codes and error handling."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sync.receiver.config import Settings

NAME = "loyalty-hq"


class ExitCode(IntEnum):
    """Exit codes of the receiver's commands."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration file (TOML)."),
]


def settings_of(context: typer.Context, config: Path | None) -> "Settings":
    """Load the settings; `--config` is accepted before and after the command name."""
    from sync.receiver.config import load_settings  # noqa: PLC0415 - keeps --help quick

    with wrong_configuration_ends_it():
        return load_settings(config or context.obj, os.environ)


def checked_name(argument: str, text: str) -> str:
    """Return `text` if it is a valid store or till name, else exit with code 2."""
    from sync.runtime.settings.types import check_name  # noqa: PLC0415 - keeps --help quick

    try:
        return check_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=argument) from None


@contextmanager
def wrong_configuration_ends_it() -> Iterator[None]:
    """Turn a `ConfigurationError` into a message on standard error and exit code 2."""
    from sync.runtime.settings.setting_errors import ConfigurationError  # noqa: PLC0415 - keeps --help quick

    try:
        yield
    except ConfigurationError as error:
        typer.echo(f"{NAME}: {error}", err=True)
        raise typer.Exit(ExitCode.WRONG_USE) from None


@contextmanager
def unusable_database_ends_it(
    settings: "Settings", exit_code: ExitCode = ExitCode.TROUBLE
) -> Iterator[None]:
    """Turn a database error into a message without statement values, and exit."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - keeps --help quick

    try:
        with wrong_configuration_ends_it():
            yield
    except BrokenPipeError:
        # The reader of our output is gone; typer exits silently.
        raise
    except (OSError, SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        typer.echo(f"{NAME}: {settings.database_name}: cannot be used ({reason})", err=True)
        raise typer.Exit(exit_code) from None
