"""What the tills were promised, held against the tables of head office."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent.drill.tills import Receipts

_RECORDS = """
SELECT 'session', correlation_id, NULL, epoch, sequence FROM sessions
UNION ALL
SELECT 'email', correlation_id, email_address, epoch, sequence FROM email_answers
ORDER BY epoch, sequence
"""
_Record = tuple[str, str, str | None, str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a drill; all after `at_head_office` are to be 0."""

    captured: int
    acknowledged: int
    at_head_office: int
    lost: int
    doubled: int
    changed: int
    out_of_order: int

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept, and there were some."""
        wrong = self.lost + self.doubled + self.changed + self.out_of_order
        return not wrong and self.acknowledged > 0


def judge(receipts: Receipts, database: Path) -> Verdict:
    """Compare receipt by receipt."""
    rows = _read(database)
    records = [(kind, session) for kind, session, *_ in rows]
    places = {name: place for place, name in reversed(list(enumerate(records)))}
    numbers = {(kind, session): f"{epoch}/{sequence}" for kind, session, _, epoch, sequence in rows}
    return Verdict(
        captured=receipts.captured,
        acknowledged=len(receipts.promised),
        at_head_office=len(records),
        lost=len(receipts.promised.keys() - places.keys()),
        doubled=len(records) - len(places),
        changed=sum(
            address is not None and receipts.addresses.get(session) != address
            for _, session, address, *_ in rows
        )
        + sum(numbers.get(name, number) != number for name, number in receipts.promised.items()),
        out_of_order=sum(
            kind == "email" and place < places.get(("session", session), len(records))
            for place, (kind, session) in enumerate(records)
        ),
    )


def count_at_head_office(database: Path) -> int:
    """Return how many records head office has now; 0 while it has no tables."""
    try:
        return len(_read(database))
    except sqlite3.Error:
        return 0


def _read(database: Path) -> list[_Record]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(_RECORDS).fetchall()
