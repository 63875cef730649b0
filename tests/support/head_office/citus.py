"""Finds PostgreSQL statements that are not restricted to one store.

On Citus a statement that names its store runs on the one node that holds its rows. Without it,
the statement runs on all nodes, and tables joined without it cannot be joined at all.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event

from sync.receiver.db.tables import LedgerTable

_TABLE = rf"(?:{'|'.join(LedgerTable.metadata.tables)})\b(?!\.)"
_USE = re.compile(rf"\b(?:FROM|UPDATE|JOIN)\s+({_TABLE})(?:\s+AS\s+(\w+))?(?:,\s*({_TABLE}))?")
_ADDING = re.compile(rf"^\s*INSERT INTO {_TABLE}\s*\(([^)]*)\)")
_GIVEN = re.compile(r"(?:WHERE|AND|ON)\s+\(?(\w+)\.store_id = \$\d")
_SAME = re.compile(r"(\w+)\.store_id = (\w+)\.store_id")


def is_restricted_to_store(statement: str) -> bool:
    """Return whether a statement is restricted to one store or uses none of our tables."""
    adding = _ADDING.match(statement)
    if adding is None:
        return not _used_of_all_stores(statement)
    return "store_id" in adding[1].split(", ") and not _used_of_all_stores(
        statement[adding.end() :]
    )


def _used_of_all_stores(statement: str) -> list[str]:
    """Return the tables, by their name in each SELECT, that are not restricted to a store.

    A table is restricted if its store is a parameter, or equals that of a restricted table.
    """
    found: list[str] = []
    named_before: set[str] = set()
    # An inner SELECT may be joined to a table of the SELECT around it.
    for part in re.split(r"(?=\bSELECT\b)", statement):
        named = set(_GIVEN.findall(part))
        same = _SAME.findall(part)
        for one, other in [*same, *same]:
            if {one, other} & (named | named_before):
                named |= {one, other}
        uses = [name for use in _USE.findall(part) for name in (use[1] or use[0], use[2]) if name]
        found += [name for name in uses if name not in named]
        named_before |= named
    return found


@contextmanager
def recorded_statements() -> Iterator[list[str]]:
    """Collect the statements that any engine sends to PostgreSQL while the block runs."""
    statements: list[str] = []

    def hear(*arguments: object) -> None:
        connection, _, statement = arguments[:3]
        if getattr(connection, "dialect", None) and connection.dialect.name == "postgresql":  # type: ignore[attr-defined] # passed by SQLAlchemy
            statements.append(str(statement))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
