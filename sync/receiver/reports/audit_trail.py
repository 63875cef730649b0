"""Entries of the audit log, in order of time, in bounded reads."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from sync.receiver.audit.audit_log import Action
from sync.receiver.db.database import Database
from sync.receiver.db.paging import PAGE_ROWS, keyset_pages
from sync.receiver.db.period import EVER, Period
from sync.receiver.db.tables import audit_log

_ORDER = (audit_log.c.at, audit_log.c.store_id, audit_log.c.entry_id)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Entries of a period, of one action and of one store; None: of all."""

    period: Period = EVER
    action: Action | None = None
    store_id: str | None = None


def audit_entries(
    database: Database, wanted: AuditFilter
) -> AsyncIterator[Sequence[sa.RowMapping]]:
    """Return the pages of entries, the oldest first."""
    statement = sa.select(audit_log).where(wanted.period.contains(audit_log.c.at))
    if wanted.action is not None:
        statement = statement.where(audit_log.c.action == wanted.action.value)
    if wanted.store_id is not None:
        statement = statement.where(audit_log.c.store_id == wanted.store_id)
    return keyset_pages(database, statement, _ORDER, PAGE_ROWS)
