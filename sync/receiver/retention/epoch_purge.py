"""Purge transactions on the numbers of one epoch."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import func

from sync.receiver.auth.tokens import AgentName
from sync.receiver.db import conditions, statements
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.columns import UtcTimestamp
from sync.receiver.db.tables import (
    agents,
    answers,
    duplicates,
    gaps,
    rejections,
    sessions,
    uncertain_times,
)
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.rows import epoch_key, gap_row
from sync.receiver.retention.kept_digests import keep_digests

# A purge transaction delays agents no longer than a few batches do.
NUMBERS_PER_TRANSACTION = 1000
MISSING_AT_PURGE = "missing when its retention period ended"
_PURGED = (sessions, answers, duplicates)

_STORE = sa.bindparam("of_store", type_=sa.Text)
_RECEIVED_BEFORE = sa.bindparam("received_before", type_=UtcTimestamp)
_FIRST_RECENT = sa.union_all(
    *(
        sa.select(func.min(table.c.sequence).label("sequence")).where(
            conditions.in_range(table), table.c.received_at >= _RECEIVED_BEFORE
        )
        for table in _PURGED
    )
)
_NUMBERS = sa.union_all(
    *(
        sa.select(table.c.sequence).where(conditions.in_range(table))
        for table in (*_PURGED, rejections)
    )
)
_DELETE = [
    sa.delete(table).where(conditions.in_range(table)) for table in (*_PURGED, uncertain_times)
]


def _is_late(table: sa.Table, purged_through: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.sequence <= purged_through, table.c.received_at < _RECEIVED_BEFORE)


def _is_late_in_epoch(table: sa.Table) -> sa.ColumnElement[bool]:
    purged_through = sa.bindparam("purged", type_=sa.BigInteger)
    return sa.and_(conditions.is_epoch(table), _is_late(table, purged_through))


_DELETE_LATE = [sa.delete(table).where(_is_late_in_epoch(table)) for table in _PURGED]
# The first late numbers of each table.
_FIRST_LATE = [
    sa.select(table.c.sequence)
    .where(_is_late_in_epoch(table))
    .order_by(table.c.sequence)
    .limit(sa.bindparam("most", type_=sa.BigInteger))
    for table in _PURGED
]
_HAS_LATE = sa.or_(
    *(
        sa.exists().where(
            table.c.store_id == _STORE,
            *(table.c[name] == agents.c[name] for name in ("till_id", "epoch")),
            _is_late(table, agents.c.purged_through),
        )
        for table in _PURGED
    )
)
_PURGEABLE = (
    sa.select(agents.c.till_id, agents.c.epoch, _HAS_LATE.label("late"))
    .where(agents.c.store_id == _STORE)
    .where(sa.or_(agents.c.purged_through < agents.c.accepted_through, _HAS_LATE))
)


def purgeable_epochs(
    connection: sa.Connection, store_id: str, received_before: datetime
) -> list["EpochPurge"]:
    """Return the epochs of a store that may have expired events."""
    values = {"of_store": store_id, "received_before": received_before}
    return [
        EpochPurge(AgentName(store_id, row.till_id), row.epoch, has_late=bool(row.late))
        for row in connection.execute(_PURGEABLE, values)
    ]


@dataclass(frozen=True, slots=True)
class EpochPurge:
    """An epoch to purge. Each method is one transaction, which locks its row in `agents`.

    `has_late`: events at or below `purged_through` have expired since.
    """

    name: AgentName
    epoch: str
    has_late: bool

    def delete_late(self, connection: sa.Connection, received_before: datetime) -> int:
        """Delete the next expired events at or below `purged_through`; return their number."""
        purged, most = self._lock(connection)["purged_through"], NUMBERS_PER_TRANSACTION
        values = {"purged": purged, "received_before": received_before}
        found = [self._execute(connection, one, **values, most=most) for one in _FIRST_LATE]
        late = sorted(row.sequence for rows in found for row in rows)
        if not late:
            return 0
        values["purged"] = late[:most][-1]
        keep_digests(connection, self.name, self.epoch, _is_late_in_epoch, **values)
        return sum(self._execute(connection, one, **values).rowcount for one in _DELETE_LATE)

    def delete_next(
        self, connection: sa.Connection, received_before: datetime, at: datetime
    ) -> int:
        """Delete the next expired numbers and advance `purged_through`; return how many.

        Missing numbers are recorded as gaps, before the rows around them disappear, and digests
        of the events are kept.
        """
        agent = self._lock(connection)
        first: int = agent["purged_through"] + 1
        # A gap is a single row however many numbers it covers.
        ends = [end for _, end in self._gaps(connection, first, first)]
        last = min(max([first + NUMBERS_PER_TRANSACTION - 1, *ends]), agent["accepted_through"])
        last = self._last_expired(connection, received_before, first, last)
        if last < first:
            return 0
        key = epoch_key(self.name, self.epoch)
        missing = self._missing(connection, first, last)
        insert_rows(connection, gaps, [gap_row(key, gap, at) for gap in missing])
        numbers = {"first": first, "last": last}
        keep_digests(connection, self.name, self.epoch, conditions.in_range, **numbers)
        for statement in _DELETE:
            self._execute(connection, statement, first=first, last=last)
        self._execute(connection, statements.UPDATE_AGENT, purged_through=last)
        return last - first + 1

    def _lock(self, connection: sa.Connection) -> sa.RowMapping:
        """Select the epoch's row FOR UPDATE."""
        rows = self._execute(connection, statements.SELECT_AGENTS_FOR_UPDATE, epochs=[self.epoch])
        return rows.mappings().one()

    def _gaps(self, connection: sa.Connection, first: int, last: int) -> list[tuple[int, int]]:
        """Return the gaps that contain a number from `first` to `last`."""
        select_gaps = statements.SELECT_OVERLAPPING_GAPS
        found = self._execute(connection, select_gaps, first=first, last=last)
        return [(row.first_sequence, row.last_sequence) for row in found]

    def _last_expired(
        self, connection: sa.Connection, received_before: datetime, first: int, last: int
    ) -> int:
        """Return the last number before the first event that is too recent, or `last`."""
        values = {"received_before": received_before, "first": first, "last": last}
        found = self._execute(connection, _FIRST_RECENT, **values)
        recent = [row.sequence for row in found if row.sequence is not None]
        return min(recent, default=last + 1) - 1

    def _missing(self, connection: sa.Connection, first: int, last: int) -> list[Gap]:
        """Return the numbers without any row, as gaps."""
        numbers = self._execute(connection, _NUMBERS, first=first, last=last)
        covered = self._gaps(connection, first, last)
        covered += [(row.sequence, row.sequence) for row in numbers]
        missing: list[Gap] = []
        expected = first
        for begin, end in [*sorted(covered), (last + 1, last + 1)]:
            if begin > expected:
                missing.append(Gap(expected, begin - 1, MISSING_AT_PURGE))
            expected = max(expected, end + 1)
        return missing

    def _execute(
        self, connection: sa.Connection, statement: sa.Executable, **values: object
    ) -> sa.CursorResult[tuple[object, ...]]:
        key = conditions.params_for(self.name, self.epoch)
        return connection.execute(statement, {**key, **values})
