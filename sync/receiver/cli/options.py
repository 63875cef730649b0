"""Arguments and options that several commands of `loyalty-hq` have, with the same words in help."""

from collections.abc import Callable
from typing import Annotated

import typer

from sync.receiver.cli.hq import checked_name, checked_reason


def checked(argument: str) -> Callable[[str | None], str | None]:
    """Return the callback of an argument that is the name of a store or till, or absent."""

    def check(name: str | None) -> str | None:
        return None if name is None else checked_name(argument, name)

    return check


_STORE = typer.Argument(metavar="STORE", callback=checked("STORE"), help="The store's name.")
_TILL = typer.Argument(metavar="TILL", callback=checked("TILL"), help="The POS machine's name.")
StoreName = Annotated[str, _STORE]
TillName = Annotated[str, _TILL]
OptionalStoreName = Annotated[str | None, _STORE]
OptionalTillName = Annotated[str | None, _TILL]
EpochName = Annotated[str, typer.Argument(metavar="EPOCH", help="As shown by `list`.")]
Reason = Annotated[
    str, typer.Option(metavar="TEXT", callback=checked_reason, help="Why the loss is accepted.")
]
StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="ID", callback=checked("--store"), help="Only this store."),
]
CapturedFrom = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Captured at this time or later.")
]
CapturedTo = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Captured before this time.")
]
