"""Arguments and options that several commands of `loyalty-hq` have, with the same words in help."""

from collections.abc import Callable
from typing import Annotated

import typer

from sync.receiver.db.period import Period, parse_period
from sync.runtime.settings.types import check_name

_MAX_REASON = 500


def checked(argument: str) -> Callable[[str | None], str | None]:
    """Return the callback of an argument that is the name of a store or till, or absent."""

    def check(name: str | None) -> str | None:
        try:
            return None if name is None else check_name(name)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=argument) from None

    return check


def _checked_reason(text: str) -> str:
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


_STORE = typer.Argument(metavar="STORE", callback=checked("STORE"), help="The store's name.")
_TILL = typer.Argument(metavar="TILL", callback=checked("TILL"), help="The POS machine's name.")
StoreName = Annotated[str, _STORE]
TillName = Annotated[str, _TILL]
OptionalStoreName = Annotated[str | None, _STORE]
OptionalTillName = Annotated[str | None, _TILL]
EpochName = Annotated[str, typer.Argument(metavar="EPOCH", help="As shown by `list`.")]
Reason = Annotated[
    str, typer.Option(metavar="TEXT", callback=_checked_reason, help="Why the loss is accepted.")
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
