"""`loyalty-hq` as a program with commands: its name, settings and database; `loyalty-hq serve`."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.config import Settings, load_settings
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.program import ExitCode, Program
from sync.runtime.logging import configure_logging, log_uncaught_exceptions
from sync.runtime.settings.secret_files import check_files
from sync.runtime.settings.types import check_name

HEAD_OFFICE: Program[Settings] = Program("loyalty-hq", load_settings)


def serve(context: typer.Context, config: ConfigFile = None) -> None:
    """Receive captures until SIGTERM or SIGINT."""
    settings = HEAD_OFFICE.settings(context, config)
    from sync.receiver.service import run_receiver  # noqa: PLC0415 - loads the whole receiver

    with HEAD_OFFICE.exit_on_configuration_error():
        check_files(settings)
        configure_logging(settings.log.level, settings.log.format)
        log_uncaught_exceptions()
        raise SystemExit(run_receiver(settings))


def checked_name(argument: str, text: str) -> str:
    """Return `text` if it is a valid store or till name, else exit with code 2."""
    try:
        return check_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=argument) from None


@contextmanager
def exit_on_database_error(
    settings: Settings, exit_code: ExitCode = ExitCode.PROBLEM
) -> Iterator[None]:
    """Turn a database error into a message without statement values, and exit."""
    try:
        with HEAD_OFFICE.exit_on_configuration_error():
            yield
    except BrokenPipeError:
        # The reader of our output is gone; typer exits silently.
        raise
    except (OSError, SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        HEAD_OFFICE.fail(f"cannot use the database {settings.database_name} ({reason})", exit_code)
