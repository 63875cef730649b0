"""`loyalty-hq` as a program with commands: its name, settings, state and database."""

import os
import uuid
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import uvloop
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.audit.audit_log import AuditLog
from sync.receiver.audit.author import author_of_command
from sync.receiver.config import ACCESS, SERVICE, ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.db.open import open_database, open_existing_database
from sync.receiver.reports.store_list import is_recorded
from sync.receiver.reports.tills import Reference
from sync.runtime.cli.discovery import service_state
from sync.runtime.cli.program import ExitCode, Program, State
from sync.runtime.files.ownership import acting_as_owner, make_for_service
from sync.runtime.identity import installed_version

T = TypeVar("T")


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
    opened = (
        open_database(settings, is_command=True) if create else open_existing_database(settings)
    )
    # A server's password may be in a file that only root reads.
    owner = nullcontext() if settings.is_on_postgresql else acting_as_owner(directory)

    async def run() -> T:
        async with opened as database:
            return await work(database)

    try:
        with HEAD_OFFICE.exit_on_configuration_error(), owner:
            # On asyncio's own loop a connection that is cancelled leaves a line of its future.
            return uvloop.run(run())
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
