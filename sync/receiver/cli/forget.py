"""`loyalty-hq forget`: erase a customer's address. The address is never printed."""

import sys
from typing import Annotated

import typer

from sync.receiver.cli.hq import HEAD_OFFICE, exit_on_database_error
from sync.receiver.operations import forget_address
from sync.receiver.privacy.redaction import Address
from sync.runtime.cli.command_group import ConfigFile


def forget(
    context: typer.Context,
    email: Annotated[
        str,
        typer.Argument(
            metavar="EMAIL",
            help="The address; - reads it from standard input, which keeps it out of process"
            " lists and shell history.",
        ),
    ],
    config: ConfigFile = None,
) -> None:
    """Erase an e-mail address from every table.

    Prints the number of changed rows. Rows stay, without the address, so completeness is
    unaffected. Safe while head office serves. Captures that have not arrived yet and backups
    are not covered. Idempotent.
    """
    settings = HEAD_OFFICE.settings(context, config)
    try:
        address = Address.parse(sys.stdin.readline() if email == "-" else email)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="EMAIL") from None
    with exit_on_database_error(settings):
        forgotten = forget_address(settings, address)
    for place, rows in sorted(forgotten.changes.items()):
        typer.echo(f"{place}: {rows} rows changed")
    typer.echo("The address is erased." if forgotten.changes else "The address was not found.")
    for copy in forgotten.copies:
        HEAD_OFFICE.warn(f"{copy}: this backup was not searched; delete it if it is not needed")
