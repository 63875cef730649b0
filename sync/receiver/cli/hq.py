"""`loyalty-hq` as a program with commands: its name, settings and database; `loyalty-hq serve`."""

import asyncio
import gc
import logging
import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import typer
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.audit.audit_log import AuditLog
from sync.receiver.audit.author import author_of_command
from sync.receiver.config import ACCESS, SERVICE, ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.db.open import open_database, open_existing_database
from sync.receiver.db.period import Period, parse_period
from sync.receiver.reports.store_list import is_recorded
from sync.receiver.reports.tills import Reference
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.discovery import Configuration, service_state
from sync.runtime.cli.program import ExitCode, Program, State
from sync.runtime.files.ownership import acting_as_owner, make_for_service
from sync.runtime.identity import installed_version
from sync.runtime.logging import configure_logging, log_event, log_uncaught_exceptions
from sync.runtime.settings.last_working import LastWorking
from sync.runtime.settings.near_misses import find_near_misses
from sync.runtime.settings.secret_files import check_files
from sync.runtime.settings.setting_errors import SettingError
from sync.runtime.settings.types import check_name
from sync.runtime.start import NotStartedError, Start, start_or_fall_back

T = TypeVar("T")
_MAX_REASON = 500
_log = logging.getLogger(__name__)


def _state(settings: ReceiverSettings) -> State:
    if settings.is_on_postgresql:
        return State(settings.database_name, exists=True)
    try:
        return State(settings.database_name, settings.database_path.exists())
    except PermissionError:
        return State(settings.database_name, exists=True)


HEAD_OFFICE: Program[ReceiverSettings] = Program(
    "loyalty-hq",
    SERVICE,
    ReceiverSettings,
    lambda settings: (settings.server.host, settings.server.port),
    _state,
    ACCESS,
)


def serve(config: ConfigFile = None) -> None:
    """Receive captures until SIGTERM or SIGINT.

    As a service of systemd: if it does not start with this configuration, it starts with the last
    one that worked, and logs that.
    """
    found = HEAD_OFFICE.service_configuration(config)
    directories = os.environ.get("STATE_DIRECTORY")
    configuration = LastWorking(ReceiverSettings, found.file, found.environ, directories)
    try:
        raise SystemExit(
            start_or_fall_back(
                configuration, partial(_receive, found), _may_fall_back, ACCESS, _find_start_errors
            )
        )
    except NotStartedError as error:
        if str(error):
            HEAD_OFFICE.warn_unread(str(error))
        raise SystemExit(error.code) from None


def _may_fall_back(present: ReceiverSettings | None, last: ReceiverSettings) -> bool:
    """Return whether the ledger stays one: agents keep their events while it is away."""
    is_same = present is None or present.database_name == last.database_name
    return is_same and _state(last).exists


def _find_start_errors(settings: ReceiverSettings, uid: int) -> Iterable[SettingError]:
    from sync.receiver.doctor.start import find_start_errors  # noqa: PLC0415 - rarely needed

    return find_start_errors(settings, uid)


def _receive(found: Configuration, settings: ReceiverSettings, start: Start) -> int:
    from sync.receiver.service import run_receiver  # noqa: PLC0415 - loads the whole receiver

    # Imported modules are never garbage: looking through them again and again costs a tenth of a
    # batch.
    gc.freeze()
    check_files(settings)
    configure_logging(settings.log.level, settings.log.format)
    log_uncaught_exceptions()
    place = settings.database_name
    log_event(_log, logging.INFO, "hq.starting", configuration=str(found), state=place)
    for near in find_near_misses(ReceiverSettings, found.environ):
        log_event(_log, logging.WARNING, "settings.variable_ignored", reason=str(near))
    return run_receiver(settings, _link_printer(), start)


def _link_printer() -> Callable[[str], None] | None:
    """Return the function that prints the sign-in link; None without a terminal.

    Never prints into a file or a journal: every reader of it could sign in.
    """
    for stream, is_error in ((sys.stderr, True), (sys.stdout, False)):
        if stream is not None and stream.isatty():
            return partial(_print_link, is_error=is_error)
    return None


def _print_link(url: str, *, is_error: bool) -> None:
    from sync.receiver.auth.sign_in_link import LIFETIME_SECONDS  # noqa: PLC0415 - as for `serve`
    from sync.runtime.cli.printing import echo  # noqa: PLC0415 - slow to import

    minutes = int(LIFETIME_SECONDS // 60)
    echo(
        f"Sign in to the pages with this link, once, within {minutes} minutes:\n  {url}",
        err=is_error,
    )


def checked_name(argument: str, text: str) -> str:
    """Return `text` if it is a valid store or till name, else exit with code 2."""
    try:
        return check_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=argument) from None


def checked_reason(text: str) -> str:
    """Return the reason of an acknowledgement, else exit with code 2."""
    if not 0 < len(text.strip()) <= _MAX_REASON:
        message = f"expected 1 to {_MAX_REASON} characters"
        raise typer.BadParameter(message, param_hint="--reason")
    return text.strip()


def checked_period(since: str | None, until: str | None, options: str = "--from/--to") -> Period:
    """Return the period of two options, else exit with code 2."""
    try:
        return parse_period(since, until)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=options) from None


def check_known(
    settings: ReceiverSettings, store_id: str | None, till_id: str | None = None
) -> None:
    """Exit with code 2 if head office never knew this store, or this till: an empty list would lie.

    Retired ones are known. None: no store is named.
    """
    if store_id is None:
        return
    is_known = partial(is_recorded, store_id=store_id, till_id=till_id)
    if not run_on_database(settings, is_known, ExitCode.USAGE):
        what = f"store {store_id}" if till_id is None else f"till {store_id}/{till_id}"
        HEAD_OFFICE.refuse(f"{what} is not known: see `loyalty-hq stores`")


def run_on_database(
    settings: ReceiverSettings,
    work: Callable[[Database], Awaitable[T]],
    exit_code: ExitCode = ExitCode.PROBLEM,
    *,
    create: bool = False,
) -> T:
    """Open the database, run `work` on it and close it; return the result of `work`.

    A missing SQLite file is an error unless `create` is set. Root acts as the owner of its
    directory: files of root in it would keep the service from starting. If the database fails,
    print the reason, without statement values, and exit.
    """
    # Files that the database creates are for their owner only.
    os.umask(0o077)
    directory = settings.database_path.parent
    if create and directory == service_state(HEAD_OFFICE.name):
        make_for_service(directory, HEAD_OFFICE.name)
    opened = open_database(settings) if create else open_existing_database(settings)
    # A server's password may be in a file that only root reads.
    owner = nullcontext() if settings.is_on_postgresql else acting_as_owner(directory)

    async def run() -> T:
        async with opened as database:
            return await work(database)

    try:
        with HEAD_OFFICE.exit_on_configuration_error(), owner:
            return asyncio.run(run())
    except BrokenPipeError:
        # The reader of our output is gone; typer exits silently.
        raise
    except (OSError, SQLAlchemyError) as error:
        reason = getattr(error, "orig", None) or error
        HEAD_OFFICE.fail(f"cannot use the database {settings.database_name} ({reason})", exit_code)


def audit_log() -> AuditLog:
    """Return an audit log for the actions of the user of this command."""
    author = author_of_command(os.environ)
    return AuditLog(author, lambda: datetime.now(UTC), lambda: uuid.uuid4().hex)


def reference_now() -> Reference:
    """Return the time and version to compare the tills with."""
    return Reference(datetime.now(UTC), installed_version())
