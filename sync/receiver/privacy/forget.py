"""Redacts an e-mail address in every text column of the ledger, per store, in short transactions.

The columns are found by type, so that a column added later is included. Rows stay, so that sequence
numbers remain accounted for.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, Text, and_, or_, true, update
from sqlalchemy import func as sql

from sync.receiver.audit.audit_log import Action, AuditLog
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.database import Database
from sync.receiver.db.paging import pages_of
from sync.receiver.db.tables import LedgerTable, audit_log
from sync.receiver.privacy.redaction import Address, numbered_mark

_ADDRESS, _BODY, _ID = "email_address", "body", "correlation_id"

Changes = Counter[str]
"""Number of rows changed, by `table.column`."""


async def forget_address(database: Database, address: Address, audit: AuditLog) -> Changes:
    """Redact `address` in every table; return the number of changes.

    Events that agents send later are stored as usual. Idempotent; an interrupted run is completed
    by the next one. Each transaction records how many rows it changes, the end their total, even
    if it is zero; never the address.
    """
    changes: Changes = Counter()
    for table, columns in _TEXT_COLUMNS.items():
        redaction = _TableRedaction(database, table, columns, address, audit)
        async for found in redaction.pages():
            changes += await database.write(partial(redaction.write, found=found))
    total = changes.total()
    await database.write(lambda connection: audit.record(connection, Action.FORGET, rows=total))
    return changes


def _text_columns() -> dict[Table, list[str]]:
    """Return the text columns that can hold external data, by table.

    The audit log is append-only: its texts are masked before they are written.
    """
    found = {}
    for table in LedgerTable.metadata.sorted_tables:
        if table is audit_log:
            continue
        names = [c.name for c in table.columns if type(c.type) is Text and not c.primary_key]
        if names:
            found[table] = names
    return found


_TEXT_COLUMNS = _text_columns()


async def rows_with_address(
    database: Database, address: Address
) -> AsyncIterator[tuple[Table, Sequence[RowMapping]]]:
    """Yield the rows that `forget_address` would change, some of one table at a time."""
    for table, columns in _TEXT_COLUMNS.items():
        search = _TableSearch(database, table, columns, address)
        async for found in search.pages():
            yield table, [row for row, _ in found]


@dataclass(frozen=True, slots=True)
class _TableSearch:
    """Search of one table for an address."""

    database: Database
    table: Table
    columns: list[str]
    address: Address

    async def pages(self) -> AsyncIterator[Sequence[tuple[RowMapping, Mapping[str, object]]]]:
        """Yield the rows that hold the address, with their redacted values, some of one store."""
        may_match = or_(*(self._may_match(name) for name in self.columns))
        async for rows in pages_of(self.database, self.table, may_match):
            found = [(row, redacted) for row in rows if (redacted := self._redacted(row))]
            if found:
                yield found

    def _may_match(self, name: str) -> ColumnElement[bool]:
        """Return a cheap SQL prefilter that skips most rows without the address."""
        column, word = self.table.c[name], self.address.word
        if not word:
            return true()
        has_word = sql.lower(column).contains(word, autoescape=True)
        # In JSON any character can be written as a \u escape.
        has_escape = column.contains("\\u", autoescape=True)
        return or_(has_word, has_escape) if name == _BODY else has_word

    def _redacted(self, row: RowMapping) -> dict[str, object]:
        """Return the redacted values of the columns that hold the address."""
        changed: dict[str, object] = {}
        for name in self.columns:
            text = row[name]
            match name:
                case _ if text is None:
                    continue
                case "body":
                    redacted: str | None = self.address.redact_json(text)
                case "email_address":
                    redacted = None if self.address.occurs_in(text) else text
                case _:
                    redacted = self.address.redact(text)
            if redacted != text:
                changed[name] = redacted
        # `address_erased` marks that an address existed and must not be restored by a resend.
        return changed | {"address_erased": True} if _ADDRESS in changed else changed


@dataclass(frozen=True, slots=True)
class _TableRedaction(_TableSearch):
    """Redaction of one table."""

    audit: AuditLog

    def write(
        self, connection: Connection, found: Sequence[tuple[RowMapping, Mapping[str, object]]]
    ) -> Changes:
        """Redact rows of one store, and record that."""
        changes: Changes = Counter()
        for row, redacted in found:
            this_row = and_(*(column == row[column.name] for column in self.table.primary_key))
            values = {name: value for name, value in redacted.items() if name != _ID}
            if values:
                connection.execute(update(self.table).where(this_row).values(values))
            changes.update(f"{self.table.name}.{name}" for name in values if name in self.columns)
            if _ID in redacted:
                changes += self._replace_id(connection, row["store_id"], row[_ID])
        store = AgentName(found[0][0]["store_id"], "")
        table, rows = self.table.name, len(found)
        self.audit.record(connection, Action.FORGET, store, table=table, rows=rows)
        return changes

    def _replace_id(self, connection: Connection, store_id: str, old: str) -> Changes:
        """Replace a session's correlation id in all tables at once: its rows stay linked."""
        new = self.address.redact(old, numbered_mark(self.audit.new_hex()))
        changes: Changes = Counter()
        for table in (table for table, columns in _TEXT_COLUMNS.items() if _ID in columns):
            has_id = and_(table.c.store_id == store_id, table.c[_ID] == old)
            updated = connection.execute(update(table).where(has_id).values({_ID: new}))
            changes[f"{table.name}.{_ID}"] += updated.rowcount
        return +changes
