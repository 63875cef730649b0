"""Database statistics: row counts, epochs, cursor, dead letters. No content of captures."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

from agent.store.db import tables
from agent.store.db.cursor import read_cursor
from agent.store.db.epochs import read_epochs
from agent.store.db.inspection import inspect_database
from agent.store.db.migrate import revision_of
from agent.support_bundle.redact import Json
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import EventType

_TIMEOUT_SECONDS = 10.0
_MAX_DEAD_LETTERS = 200
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_NOT_SHOWN = "(not shown)"
_TABLES = [model.__table__.name for model in vars(tables).values() if hasattr(model, "__table__")]
# Central's error text is left out: it may quote the till's content.
_SELECT_DEAD_LETTERS = """
SELECT dead_letter.position, event.type, error_code, http_status, refused_at_us, attempts,
    retry_wanted, discarded_at_us IS NOT NULL
FROM dead_letter LEFT JOIN event ON event.position = dead_letter.position
ORDER BY dead_letter.position DESC LIMIT ?
"""

Query = Callable[[sqlite3.Connection], Json]


def describe_database(directory: Path) -> dict[str, Json]:
    """Return revision, epochs, cursor, row counts, dead letters; an error in place of any part."""
    queries: dict[str, Query] = {
        "schemaRevision": revision_of,
        "epochs": _epochs,
        "central": _cursor,
        "rows": _rows,
        "deadLetters": _dead_letters,
    }
    found: dict[str, Json] = {}
    for name, query in queries.items():
        try:
            with inspect_database(directory, within_seconds=_TIMEOUT_SECONDS) as connection:
                found[name] = query(connection)
        except (sqlite3.Error, OSError, IndexError) as error:
            found[name] = {"notKnown": type(error).__name__, "reason": str(error)}
    return found


def _epochs(connection: sqlite3.Connection) -> Json:
    return [
        {"epoch": extent.epoch, "lastSequence": extent.last_sequence}
        for extent in read_epochs(connection).ranges
    ]


def _cursor(connection: sqlite3.Connection) -> Json:
    cursor = read_cursor(connection)
    return {
        "watermark": cursor.watermark,
        "attemptingFrom": cursor.attempting_from,
        "attemptingThrough": cursor.attempting_through,
        "erasedThrough": cursor.erased_through,
        "purgedThrough": cursor.purged_through,
    }


def _rows(connection: sqlite3.Connection) -> Json:
    count = "SELECT count(*) FROM {}"
    return {name: connection.execute(count.format(name)).fetchone()[0] for name in _TABLES}


def _dead_letters(connection: sqlite3.Connection) -> Json:
    epochs = read_epochs(connection)
    dead_letters: list[Json] = []
    for row in connection.execute(_SELECT_DEAD_LETTERS, (_MAX_DEAD_LETTERS,)):
        position, kind, code, status, refused_at_us, attempts, again, discarded = row
        dead_letters.append(
            {
                "number": str(epochs.receipt(position)),
                "type": kind if kind in set(EventType) else _NOT_SHOWN,
                "errorCode": code if _CODE.fullmatch(str(code)) else _NOT_SHOWN,
                "httpStatus": status,
                "refusedAt": us_to_rfc3339(refused_at_us),
                "attempts": attempts,
                "isTriedAgain": bool(again),
                "isGivenUp": bool(discarded),
            }
        )
    return dead_letters
