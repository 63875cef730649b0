"""Entries of the audit log, in order of time, in bounded reads."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from sync.receiver.audit.audit_log import Action
from sync.receiver.db.database import Database
from sync.receiver.db.period import EVER, Period
from sync.receiver.db.tables import audit_log

_PAGE_ROWS = 500
_ORDER = (audit_log.c.at, audit_log.c.store_id, audit_log.c.entry_id)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Entries of a period, of one action and of one store; None: of all."""

    period: Period = EVER
    action: Action | None = None
    store_id: str | None = None


async def audit_entries(
    database: Database, wanted: AuditFilter
) -> AsyncIterator[Sequence[sa.RowMapping]]:
    """Yield non-empty pages of entries, the oldest first; each page is a read of its own."""
    first = page = _selected(wanted).order_by(*_ORDER).limit(_PAGE_ROWS)
    while rows := await database.read(partial(_rows, statement=page)):
        yield rows
        page = first.where(sa.tuple_(*_ORDER) > tuple(rows[-1][column.name] for column in _ORDER))


def _selected(wanted: AuditFilter) -> sa.Select[tuple[object, ...]]:
    statement = sa.select(audit_log).where(wanted.period.contains(audit_log.c.at))
    if wanted.action is not None:
        statement = statement.where(audit_log.c.action == wanted.action.value)
    if wanted.store_id is not None:
        statement = statement.where(audit_log.c.store_id == wanted.store_id)
    return statement


def _rows(
    connection: sa.Connection, statement: sa.Select[tuple[object, ...]]
) -> Sequence[sa.RowMapping]:
    return connection.execute(statement).mappings().all()
