"""What all commands share: `--config`, exit codes, and how trouble ends a command."""

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
    """What the receiver's commands tell a script."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration file (TOML)."),
]


def settings_of(context: typer.Context, config: Path | None) -> "Settings":
    """Return the settings; `--config` counts before the command and after it."""
    from sync.receiver.config import load_settings  # noqa: PLC0415 - keeps --help quick

    with wrong_configuration_ends_it():
        return load_settings(config or context.obj, os.environ)


def checked_name(argument: str, text: str) -> str:
    """Return the name of a store or till as it was given; anything else is wrong use."""
    from sync.runtime.settings.types import check_name  # noqa: PLC0415 - keeps --help quick

    try:
        return check_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=argument) from None


@contextmanager
def wrong_configuration_ends_it() -> Iterator[None]:
    """Say what is wrong with the configuration and end the command with exit code 2."""
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
    """Say why the database cannot be used, without the values of a statement, and end."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - keeps --help quick

    try:
        with wrong_configuration_ends_it():
            yield
    except BrokenPipeError:
        # Whoever reads what we print has left: typer ends the command without a word.
        raise
    except (OSError, SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        typer.echo(f"{NAME}: {settings.database_name}: cannot be used ({reason})", err=True)
        raise typer.Exit(exit_code) from None
