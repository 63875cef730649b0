"""`loyalty-hq backup`: copy the SQLite database into one file, while head office serves or not."""

import os
from pathlib import Path
from typing import Annotated

import typer

from sync.receiver.carried.private_keys import private_key_path
from sync.receiver.cli.hq import HEAD_OFFICE
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import say
from sync.runtime.cli.progress import current_step
from sync.runtime.files.sqlite_backup import BackupError, UnfitTarget, back_up, check_target

_POSTGRESQL = (
    "the database is on a PostgreSQL server, which has backups of its own: pg_dump --format=custom,"
    " or pg_basebackup; see docs/head-office.md"
)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to create.")],
    config: ConfigFile = None,
) -> None:
    """Copy the SQLite database into one file, while head office serves or not.

    FILE must not exist; it appears once it is complete and checked, for its owner only. It holds
    e-mail addresses in plain text. On PostgreSQL use the server's own backup.
    """
    settings = HEAD_OFFICE.settings(config)
    if settings.is_on_postgresql:
        HEAD_OFFICE.refuse(_POSTGRESQL)
    database = settings.database_path
    if not HEAD_OFFICE.state_of(settings).exists:
        HEAD_OFFICE.refuse(f"there is no database {database}")
    try:
        check_target(file, database.parent)
        with current_step("Copying") as show:
            back_up(database, file, show)
    except UnfitTarget as error:
        HEAD_OFFICE.refuse(str(error))
    except BackupError as error:
        HEAD_OFFICE.fail(f"no backup was made: {error}")
    say(f"{file} holds the database {database}, with e-mail addresses in plain text.")
    if os.path.lexists(key := private_key_path(settings)):
        say(f"Not in it: the private key {key}, which opens captures that were carried by hand.")
