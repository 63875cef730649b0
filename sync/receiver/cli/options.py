"""Options that several commands of `loyalty-hq` have, with the same words in their help."""

from typing import Annotated

import typer

from sync.receiver.cli.hq import checked_name


def _checked_store(store: str | None) -> str | None:
    return None if store is None else checked_name("--store", store)


StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="ID", callback=_checked_store, help="Only this store."),
]
CapturedFrom = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Captured at this time or later.")
]
CapturedTo = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Captured before this time.")
]
