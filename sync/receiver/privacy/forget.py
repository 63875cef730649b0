"""Redacts an e-mail address in every text column of the ledger, per store, in short transactions.

The columns are found by type, so that a column added later is included. Rows stay, so that sequence
numbers remain accounted for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, Text, and_, or_, true, update
from sqlalchemy import func as sql

from sync.receiver.db.database import Database
from sync.receiver.db.paging import KeysetPager, store_ids_in
from sync.receiver.db.tables import LedgerTable
from sync.receiver.privacy.redaction import Address, Numbers, new_mark

_ROWS_AT_ONCE = 500
_ADDRESS, _BODY, _ID = "email_address", "body", "correlation_id"

Changes = Counter[str]
"""Number of rows changed, by `table.column`."""


async def forget(database: Database, address: Address, numbers: Numbers) -> Changes:
    """Redact `address` in every table; return the number of changes.

    Events that agents send later are stored as usual. Idempotent; an interrupted run is completed
    by the next one.
    """
    changes: Changes = Counter()
    for table, columns in _texts().items():
        forgetting = _Forgetting(database, table, columns, address, numbers)
        async for store_id in store_ids_in(database, [table]):
            changes += await forgetting.of_store(store_id)
    return changes


def _texts() -> dict[Table, list[str]]:
    """Return the text columns that can hold external data, by table."""
    found = {
        table: [
            column.name
            for column in table.columns
            if type(column.type) is Text and not column.primary_key
        ]
        for table in LedgerTable.metadata.sorted_tables
    }
    return {table: columns for table, columns in found.items() if columns}


_WITH_IDS = [table for table, columns in _texts().items() if _ID in columns]


class _Forgetting:
    """Redaction of one table."""

    def __init__(
        self,
        database: Database,
        table: Table,
        columns: list[str],
        address: Address,
        numbers: Numbers,
    ) -> None:
        self._database = database
        self._table = table
        self._columns = columns
        self._address = address
        self._numbers = numbers
        may_hold = or_(*(self._may_hold(name) for name in columns))
        self._pages = KeysetPager(database, table, may_hold, size=_ROWS_AT_ONCE)

    async def of_store(self, store_id: str) -> Changes:
        changes: Changes = Counter()
        async for rows in self._pages.of_store(store_id):
            found = [(row, changed) for row in rows if (changed := self._changed(row))]
            if found:
                changes += await self._database.write(partial(self._write, found=found))
        return changes

    def _may_hold(self, name: str) -> ColumnElement[bool]:
        """Return a cheap SQL prefilter that skips most rows without the address."""
        column, word = self._table.c[name], self._address.word
        if not word:
            return true()
        holds_word = sql.lower(column).contains(word, autoescape=True)
        # In JSON any character can be written as a \u escape.
        return (
            or_(holds_word, column.contains("\\u", autoescape=True))
            if name == _BODY
            else holds_word
        )

    def _changed(self, row: RowMapping) -> dict[str, object]:
        """Return the redacted values of the columns that hold the address."""
        changed: dict[str, object] = {}
        for name in self._columns:
            text = row[name]
            match name:
                case _ if text is None:
                    continue
                case "body":
                    clean: str | None = self._address.without_in_json(text)
                case "email_address":
                    clean = None if self._address.stands_in(text) else text
                case _:
                    clean = self._address.without(text)
            if clean != text:
                changed[name] = clean
        # `address_erased` marks that an address existed and must not be restored by a resend.
        return changed | {"address_erased": True} if _ADDRESS in changed else changed

    def _write(
        self, connection: Connection, found: Sequence[tuple[RowMapping, Mapping[str, object]]]
    ) -> Changes:
        changes: Changes = Counter()
        for row, changed in found:
            own = and_(*(column == row[column.name] for column in self._table.primary_key))
            values = {name: value for name, value in changed.items() if name != _ID}
            if values:
                connection.execute(update(self._table).where(own).values(values))
            changes.update(f"{self._table.name}.{name}" for name in values if name in self._columns)
            if _ID in changed:
                changes += self._rename(connection, row["store_id"], row[_ID])
        return changes

    def _rename(self, connection: Connection, store_id: str, name: str) -> Changes:
        """Replace a session's correlation id in all tables at once: its rows stay linked."""
        new = self._address.without(name, new_mark(self._numbers()))
        changes: Changes = Counter()
        for table in _WITH_IDS:
            under_id = and_(table.c.store_id == store_id, table.c[_ID] == name)
            renamed = connection.execute(update(table).where(under_id).values({_ID: new}))
            changes[f"{table.name}.{_ID}"] += renamed.rowcount
        return +changes
