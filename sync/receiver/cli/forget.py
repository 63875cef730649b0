"""`loyalty-hq forget`: erase a customer's address. The address is never printed."""

import sys
from typing import Annotated

import typer

from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, run_on_database
from sync.receiver.db.database import Database
from sync.receiver.privacy.forget import Changes, forget_address
from sync.receiver.privacy.redaction import Address
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo


def forget(
    email: Annotated[
        str,
        typer.Argument(
            metavar="EMAIL",
            help="The address; - reads it from standard input, which keeps it out of process"
            " lists and shell history.",
        ),
    ],
    config: ConfigFile = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Erase an e-mail address from every table.

    Prints the number of changed rows. Rows stay, without the address, so completeness is
    unaffected. Safe while head office serves. Captures that have not arrived yet and backups
    are not covered. Idempotent.
    """
    settings = HEAD_OFFICE.settings(config)
    try:
        address = Address.parse(sys.stdin.readline() if email == "-" else email)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="EMAIL") from None

    audit = audit_log()

    async def erase(database: Database) -> Changes:
        changes = await forget_address(database, address, audit)
        await database.scrub()
        return changes

    changes = run_on_database(settings, erase)
    _print(changes, as_json=as_json)
    file = settings.database_path
    backups = [] if settings.is_on_postgresql else file.parent.glob(f"{file.name}.before-*")
    for copy in sorted(backups):
        HEAD_OFFICE.warn(f"{copy}: this backup was not searched; delete it if it is not needed")


def _print(changes: Changes, *, as_json: bool) -> None:
    if as_json:
        listing = Listing("changed", as_json=True)
        for place, rows in sorted(changes.items()):
            listing.add({"place": place, "rows": rows})
        listing.end()
        return
    for place, rows in sorted(changes.items()):
        echo(f"{place}: {count(rows, 'row')} changed")
    echo("The address is erased." if changes else "The address was not found.")
