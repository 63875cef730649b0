"""What PostgreSQL is asked, and which of it does not name the store whose rows it is about.

On Citus a statement that names its store runs on the one machine that has it; one that does
not is sent to all of them, and tables that are joined without it cannot be joined at all.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event

from sync.receiver.db.tables import Ledger

_TABLE = rf"(?:{'|'.join(Ledger.metadata.tables)})\b(?!\.)"
_USE = re.compile(rf"\b(?:FROM|UPDATE|JOIN)\s+({_TABLE})(?:\s+AS\s+(\w+))?(?:,\s*({_TABLE}))?")
_ADDING = re.compile(rf"^\s*INSERT INTO {_TABLE}\s*\(([^)]*)\)")
_GIVEN = re.compile(r"(?:WHERE|AND|ON)\s+\(?(\w+)\.store_id = \$\d")
_SAME = re.compile(r"(\w+)\.store_id = (\w+)\.store_id")


def names_its_store(statement: str) -> bool:
    """Tell whether a statement runs where one store is; so does one of none of our tables."""
    adding = _ADDING.match(statement)
    if adding is None:
        return not _used_of_all_stores(statement)
    return "store_id" in adding[1].split(", ") and not _used_of_all_stores(
        statement[adding.end() :]
    )


def _used_of_all_stores(statement: str) -> list[str]:
    """Return the tables, each under the name it has in its SELECT, whose store is not named.

    A store is given, or it is the same as that of a table whose store is named.
    """
    found: list[str] = []
    named_before: set[str] = set()
    # What is in an inner SELECT may be tied to what stands in the one around it.
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
def heard() -> Iterator[list[str]]:
    """Give the statements that PostgreSQL is asked by any engine while the block runs."""
    statements: list[str] = []

    def hear(*arguments: object) -> None:
        connection, _, statement = arguments[:3]
        if getattr(connection, "dialect", None) and connection.dialect.name == "postgresql":  # type: ignore[attr-defined] # a Connection, as the event has it
            statements.append(str(statement))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
