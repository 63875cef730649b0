"""Captures with an address, or a whole body, that is encrypted with a lost key."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from agent.facts import Receipt
from agent.store.db.epochs import read_epochs

_VERSION = b"\x01"


class OfLostKeys(NamedTuple):
    """How many there are, the first and the last of them."""

    number: int
    first: Receipt | None = None
    last: Receipt | None = None


def find_of_lost_keys(connection: sqlite3.Connection, headers: Sequence[bytes]) -> OfLostKeys:
    """Return the captures encrypted with a key other than those with `headers`."""
    known = ", ".join("?" for _ in headers)
    row = connection.execute(
        f"""
SELECT count(*), min(position), max(position) FROM (
    SELECT position FROM email_answer
    WHERE address IS NOT NULL AND substr(address, 1, ?) NOT IN ({known})
    UNION SELECT position FROM event
    WHERE substr(body, 1, 1) = ? AND substr(body, 1, ?) NOT IN ({known})
)
""",  # noqa: S608 - placeholders only
        (len(headers[0]), *headers, _VERSION, len(headers[0]), *headers),
    ).fetchone()
    number, first, last = row
    if not number:
        return OfLostKeys(0)
    epochs = read_epochs(connection)
    return OfLostKeys(number, epochs.receipt(first), epochs.receipt(last))
