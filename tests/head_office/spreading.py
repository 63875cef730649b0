"""What PostgreSQL is asked, and which of it does not name the store whose rows it is about.

On Citus a statement that names its store runs on the one machine that has it; one that does
not is sent to all of them.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event

from sync.receiver.tables import Ledger

_TABLES = "|".join(Ledger.metadata.tables)
_OURS = re.compile(rf"\b(?:FROM|INTO|UPDATE|JOIN)\s+(?:{_TABLES})\b", re.IGNORECASE)
# A condition on the store for what is read or changed, the column for what is added.
_NAMING = re.compile(
    rf"^INSERT INTO (?:{_TABLES}) \([^)]*\bstore_id\b|\bWHERE\b.*\bstore_id = \$\d", re.DOTALL
)


def names_its_store(statement: str) -> bool:
    """Tell whether a statement runs where one store is; so does one of none of our tables."""
    return not _OURS.search(statement) or bool(_NAMING.search(statement.strip()))


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
