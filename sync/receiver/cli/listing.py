"""Prints lists of the database page by page."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NoReturn, TypeAlias

import typer
from sqlalchemy import RowMapping

from sync.receiver.cli.hq import HEAD_OFFICE, run_on_database
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.runtime.cli.listing import Listing
from sync.runtime.cli.program import ExitCode

Entry: TypeAlias = dict[str, object]


def print_pages(
    settings: ReceiverSettings,
    listing: Listing,
    pages: Callable[[Database], AsyncIterator[Sequence[RowMapping]]],
    entry_of: Callable[[RowMapping], Entry],
    is_open: Callable[[Entry], bool] = lambda _: False,
) -> NoReturn:
    """Print the rows of all pages as entries, and exit: with code 1 if one of them is open.

    Open: a person has to act on it. If there are no entries, standard error says so.
    """

    async def show(database: Database) -> bool:
        has_open = False
        async for rows in pages(database):
            for entry in map(entry_of, rows):
                listing.add(entry)
                has_open = has_open or is_open(entry)
        return has_open

    has_open = run_on_database(settings, show)
    if not listing.end():
        HEAD_OFFICE.warn(f"no {listing.title}")
    raise typer.Exit(ExitCode.PROBLEM if has_open else ExitCode.OK)
