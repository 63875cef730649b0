"""What a command does once at the database, beside whatever serves: opened, done, closed."""

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
    """No till of this store was ever enrolled or heard of here."""


def enroll(settings: Settings, names: Sequence[AgentName]) -> list[str]:
    """Return a new token for each agent, or for none. Raises `OSError` or `SQLAlchemyError`."""

    async def run() -> list[str]:
        async with open_database(settings) as database:
            new = [(name, secrets.token_bytes(_SECRET_BYTES)) for name in names]
            return await Enrolment(database).enroll_all(new, datetime.now(UTC))

    # Before head office's first start it makes the file, for its user alone.
    os.umask(0o077)
    return asyncio.run(run())


def audit_each(
    settings: Settings, store_id: str | None, show: Callable[[EpochCompleteness], None]
) -> Sums:
    """Show every epoch of a store, or of all, as the audit finds it; return the sums.

    Raises `UnknownStoreError`; `OSError` or `SQLAlchemyError` where the database says no.
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
    """Show the audit as one JSON document, piece by piece; return and raise as `audit_each`."""

    async def run() -> Sums:
        sums = Sums()
        async with _ledger_of(settings, store_id) as database:
            async for piece in Audits(database).document(store_id, sums):
                show(piece)
        return sums

    return asyncio.run(run())


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was changed, and the copies of older files that were not looked into."""

    changes: Changes
    copies: list[Path]


def forget_address(settings: Settings, address: Address) -> Forgotten:
    """Erase an address everywhere. Raises `OSError` or `SQLAlchemyError`; then it may be left."""

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
    """Write the rows of a selection; show how many more there are and of which store."""

    async def run() -> None:
        async with existing_ledger(settings) as database:
            async for rows in selection.pages(database):
                writer.write(rows)
                show(len(rows), rows[-1]["store_id"])

    asyncio.run(run())


def every_till(settings: Settings) -> list[tuple[str, Till]]:
    """Return every till with its store's name, by both. Raises `OSError` or `SQLAlchemyError`."""

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
    """Return how many tills are silent, as the fleet page has it."""
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
    """Open the database. A file that is not there is not made: it would pass for an answer."""
    path = settings.database_path
    if not settings.is_on_postgresql and not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    os.umask(0o077)
    async with open_database(settings, may_take_long=True) as database:
        yield database
