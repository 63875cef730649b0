"""One-off operations for the command line: open the database, run, close."""

import asyncio
import errno
import os
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, func, select

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import AgentName
from sync.receiver.config import Settings
from sync.receiver.db.database import Database
from sync.receiver.export.selection import Selection
from sync.receiver.export.sink import RowWriter
from sync.receiver.privacy.forget import Changes, forget
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports.completeness import EpochCompleteness, audit
from sync.receiver.reports.completeness_report import Audits, Sums
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.store import Till, till_of
from sync.receiver.reports.tills import Moment, tills
from sync.receiver.service import open_database
from sync.runtime.version import installed_version

_SECRET_BYTES = 32


class UnknownStoreError(Exception):
    """The store was never enrolled and never sent anything."""


def enroll(settings: Settings, names: Sequence[AgentName]) -> list[str]:
    """Return a new token per agent, all or none. Raises `OSError` or `SQLAlchemyError`."""

    async def run() -> list[str]:
        async with open_database(settings) as database:
            new = [(name, secrets.token_bytes(_SECRET_BYTES)) for name in names]
            return await Enrolment(database).enroll_all(new, datetime.now(UTC))

    # Before the first start this creates the database file: readable by its owner only.
    os.umask(0o077)
    return asyncio.run(run())


def audit_each(
    settings: Settings, store_id: str | None, show: Callable[[EpochCompleteness], None]
) -> Sums:
    """Pass every epoch of one store or of all to `show`; return the totals.

    Raises `UnknownStoreError`; `OSError` or `SQLAlchemyError` if the database fails.
    """

    async def run() -> Sums:
        sums = Sums()
        async with _ledger_of(settings, store_id) as database:
            async for epoch in audit(database, store_id):
                sums.add(epoch)
                show(epoch)
            sums.silent = await database.read(partial(_silent, store_id=store_id))
        return sums

    return asyncio.run(run())


def audit_as_json(
    settings: Settings, store_id: str | None, show: Callable[[bytes], object]
) -> Sums:
    """Pass the JSON report to `show` in chunks; return the totals. Raises as `audit_each` does."""

    async def run() -> Sums:
        sums = Sums()
        async with _ledger_of(settings, store_id) as database:
            async for piece in Audits(database).document(store_id, sums):
                show(piece)
        return sums

    return asyncio.run(run())


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The rows changed, and the backup files that were not searched."""

    changes: Changes
    copies: list[Path]


def forget_address(settings: Settings, address: Address) -> Forgotten:
    """Redact an address everywhere. Raises `OSError` or `SQLAlchemyError`; it may then remain."""

    async def run() -> Changes:
        async with existing_ledger(settings) as database:
            changes = await forget(database, address, lambda: uuid.uuid4().hex)
            await database.scrub()
        return changes

    changes = asyncio.run(run())
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

    async def run() -> None:
        async with existing_ledger(settings) as database:
            async for rows in selection.pages(database):
                writer.write(rows)
                show(len(rows), rows[-1]["store_id"])

    asyncio.run(run())


def every_till(settings: Settings) -> list[tuple[str, Till]]:
    """Return all tills, ordered by store and till. Raises `OSError` or `SQLAlchemyError`."""

    def ask(connection: Connection) -> list[tuple[str, Till]]:
        found = tills(_now_at(connection))
        in_order = select(found).order_by(found.c.store_id, found.c.till_id)
        rows = connection.execute(in_order).mappings()
        return [(row["store_id"], till_of(row)) for row in rows]

    async def run() -> list[tuple[str, Till]]:
        async with existing_ledger(settings) as database:
            return await database.read(ask)

    return asyncio.run(run())


def _silent(connection: Connection, store_id: str | None) -> int:
    """Return the number of silent tills, by the fleet page's definition."""
    found = tills(_now_at(connection), store_id)
    silent = select(func.count()).where(found.c[Condition.SILENT.column] > 0)
    return connection.scalar(silent) or 0


def _now_at(connection: Connection) -> Moment:
    return Moment(datetime.now(UTC), installed_version(), connection.dialect)


@asynccontextmanager
async def _ledger_of(settings: Settings, store_id: str | None) -> AsyncIterator[Database]:
    async with existing_ledger(settings) as database:
        if store_id is not None and not await Audits(database).knows(store_id):
            raise UnknownStoreError
        yield database


@asynccontextmanager
async def existing_ledger(settings: Settings) -> AsyncIterator[Database]:
    """Open the database; never create a SQLite file, whose emptiness would look like a result."""
    path = settings.database_path
    if not settings.is_on_postgresql and not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    os.umask(0o077)
    async with open_database(settings, may_take_long=True) as database:
        yield database
