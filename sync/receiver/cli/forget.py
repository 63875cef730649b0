"""`loyalty-hq forget`: erase a customer's address. The address is never printed."""

import sys
from typing import Annotated

import typer

from sync.receiver.cli.arguments import (
    NAME,
    ConfigFile,
    settings_of,
    unusable_database_ends_it,
)


def forget(
    context: typer.Context,
    email: Annotated[
        str,
        typer.Argument(
            metavar="EMAIL",
            help="The address; - to read it from standard input, where no list of processes and"
            " no history of a shell shows it.",
        ),
    ],
    config: ConfigFile = None,
) -> None:
    """Erase an e-mail address from every table.

    Prints the number of changed rows. Rows stay, without the address, so completeness is
    unaffected. Safe while head office serves. Captures that have not arrived yet and backups
    are not covered. Idempotent.
    """
    settings = settings_of(context, config)
    from sync.receiver.operations import forget_address  # noqa: PLC0415 - keeps --help quick
    from sync.receiver.privacy.redaction import Address  # noqa: PLC0415 - as above

    try:
        address = Address.parse(sys.stdin.readline() if email == "-" else email)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="EMAIL") from None
    with unusable_database_ends_it(settings):
        forgotten = forget_address(settings, address)
    for place, rows in sorted(forgotten.changes.items()):
        typer.echo(f"{place}: {rows} rows changed")
    typer.echo("The address is erased." if forgotten.changes else "The address is not there.")
    for copy in forgotten.copies:
        typer.echo(f"{NAME}: {copy}: not looked into; delete it if nobody needs it", err=True)
