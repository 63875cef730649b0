"""One-off operations for the command line: open the database, run, close.

All raise `OSError` or `SQLAlchemyError` if the database fails.
"""

import asyncio
import os
import secrets
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import AgentName
from sync.receiver.config import Settings
from sync.receiver.db.database import Database
from sync.receiver.db.open import open_database, open_existing_database
from sync.receiver.export.formats import RowWriter
from sync.receiver.export.selection import Selection
from sync.receiver.privacy.forget import Changes, forget
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports import tills
from sync.receiver.reports.completeness import EpochCompleteness, audit
from sync.receiver.reports.completeness_report import Totals, completeness_json, is_known_store
from sync.receiver.reports.tills import Reference, TillStatus
from sync.runtime.identity import installed_version

T = TypeVar("T")
_SECRET_BYTES = 32


class UnknownStoreError(Exception):
    """The store was never enrolled and never sent anything."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The rows changed, and the backup files that were not searched."""

    changes: Changes
    copies: list[Path]


def enroll(settings: Settings, names: Sequence[AgentName]) -> list[str]:
    """Return a new token per agent, all or none; create the database if it does not exist."""

    async def run() -> list[str]:
        async with open_database(settings) as database:
            new = [(name, secrets.token_bytes(_SECRET_BYTES)) for name in names]
            return await Enrolment(database).enroll_all(new, datetime.now(UTC))

    # Before the first start this creates the database file: readable by its owner only.
    os.umask(0o077)
    return asyncio.run(run())


def show_completeness(
    settings: Settings, store_id: str | None, show: Callable[[EpochCompleteness], None]
) -> Totals:
    """Pass every epoch of one store or of all to `show`; return the totals.

    Raises `UnknownStoreError`.
    """

    async def work(database: Database) -> Totals:
        await _check_known(database, store_id)
        totals = Totals()
        async for epoch in audit(database, store_id):
            totals.add(epoch)
            show(epoch)
        silent = partial(tills.count_silent, reference=_reference(), store_id=store_id)
        totals.silent = await database.read(silent)
        return totals

    return _run(settings, work)


def completeness_as_json(
    settings: Settings, store_id: str | None, write: Callable[[bytes], object]
) -> Totals:
    """Pass the JSON report to `write` in chunks; return the totals. Raises `UnknownStoreError`."""

    async def work(database: Database) -> Totals:
        await _check_known(database, store_id)
        totals = Totals()
        async for chunk in completeness_json(database, store_id, totals):
            write(chunk)
        return totals

    return _run(settings, work)


def forget_address(settings: Settings, address: Address) -> Forgotten:
    """Redact an address everywhere. If it fails, the address may remain in places."""

    async def work(database: Database) -> Changes:
        changes = await forget(database, address, lambda: uuid.uuid4().hex)
        await database.scrub()
        return changes

    changes = _run(settings, work)
    path = settings.database_path
    copies = [] if settings.is_on_postgresql else sorted(path.parent.glob(f"{path.name}.before-*"))
    return Forgotten(changes, copies)


def export_table(
    settings: Settings,
    selection: Selection,
    writer: RowWriter,
    show: Callable[[int, str], object],
) -> None:
    """Write the selected rows; report each page's row count and store to `show`."""

    async def work(database: Database) -> None:
        async for rows in selection.pages(database):
            writer.write(rows)
            show(len(rows), rows[-1]["store_id"])

    _run(settings, work)


def list_tills(settings: Settings) -> Sequence[TillStatus]:
    """Return all tills, ordered by store and till."""
    work = partial(tills.list_tills, reference=_reference())
    return _run(settings, lambda database: database.read(work))


def _run(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_existing_database(settings) as database:
            return await work(database)

    return asyncio.run(run())


async def _check_known(database: Database, store_id: str | None) -> None:
    if store_id is not None and not await is_known_store(database, store_id):
        raise UnknownStoreError


def _reference() -> Reference:
    return Reference(datetime.now(UTC), installed_version())
