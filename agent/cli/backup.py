"""`loyalty-agent backup`: copy the database into one file, with or without a running agent."""

import os
import sqlite3
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.client import AGENT
from agent.config import Settings
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.cursor import COUNT_PENDING, COUNT_WAITING, read_cursor
from agent.store.db.epochs import read_epochs
from agent.store.db.migrate import revision_of
from agent.store.files.quarantine import list_unfinished
from agent.store.files.storage_errors import CorruptRow
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import count, say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import current_step
from sync.runtime.files.ownership import acting_as_owner
from sync.runtime.files.sqlite_backup import BackupError, UnfitTarget, back_up, check_target

# The schema revision that added deferred events.
_DEFERS_SINCE = "0011"


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to create.")],
    config: ConfigFile = None,
) -> None:
    """Copy the database into one file, while the agent runs or not.

    Tills are served meanwhile. FILE must not exist; it appears once it is complete and checked, for
    its owner only. It does not hold the encryption key, without which its addresses cannot be read.
    """
    settings = AGENT.settings(config)
    directory = settings.storage.directory
    database = directory / DATABASE_FILE
    if not os.path.exists(database):  # noqa: PTH110 - Path.exists raises for some users
        AGENT.fail(f"there is no database in {directory}", ExitCode.USAGE)
    contents: list[str] = []
    try:
        check_target(file, directory)
        with current_step("Copying") as show:
            back_up(database, file, show, lambda copy: contents.append(_describe(copy)))
    except UnfitTarget as error:
        AGENT.fail(str(error), ExitCode.USAGE)
    except BackupError as error:
        AGENT.fail(f"no backup was made: {error}")
    say(f"{file} holds {contents[0]}.")
    say(_describe_key(settings))
    _warn_of_quarantined(directory)


def _describe(copy: sqlite3.Connection) -> str:
    """Return a sentence on the captures in a copy."""
    try:
        epochs = read_epochs(copy)
        values = {"last": epochs.last_position, "watermark": read_cursor(copy).watermark}
        can_defer = (revision_of(copy) or "") >= _DEFERS_SINCE
        counted = COUNT_WAITING if can_defer else COUNT_PENDING
        (pending,) = copy.execute(f"SELECT {counted}", values).fetchone()
    except (sqlite3.Error, CorruptRow) as error:
        raise BackupError(f"the database cannot be read ({error}): see doctor") from error
    last, captures = epochs.last, count(pending, "capture")
    return f"all captures up to {last}, {captures} of them not delivered"


def _describe_key(settings: Settings) -> str:
    key = settings.storage.encryption_key_path
    return (
        f"The encryption key is not in it: keep a copy of {key} in another place. Without the key"
        " the e-mail addresses in the backup cannot be read."
    )


def _warn_of_quarantined(directory: Path) -> None:
    try:
        with acting_as_owner(directory):
            unfinished = list_unfinished(directory)
    except OSError:
        return
    if unfinished:
        AGENT.warn(
            f"not in it: {count(len(unfinished), 'quarantined database')} in {directory}/set-aside,"
            " whose captures are still being salvaged"
        )
