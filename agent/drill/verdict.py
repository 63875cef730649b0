"""Verdict of a drill: the tills' receipts compared with the receiver's tables."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent.drill.tills import EMAIL, SESSION, Name, Receipts

_RECORDS = f"""
SELECT '{SESSION}', correlation_id, body, epoch, sequence FROM sessions
UNION ALL
SELECT '{EMAIL}', correlation_id, email_address, epoch, sequence FROM email_answers
ORDER BY epoch, sequence
"""  # noqa: S608 - two words of our own
_COUNT = "SELECT (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM email_answers)"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of a drill; those after `at_head_office` must be 0.

    `foreign` records were not requested by a till; `changed` records differ in content or in
    sequence number from the till's receipt.
    """

    captured: int = 0
    acknowledged: int = 0
    at_head_office: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    changed: int = 0
    out_of_order: int = 0

    @property
    def is_good(self) -> bool:
        """Return whether there were captures, all acknowledged and all intact at head office."""
        wrong = self.lost + self.doubled + self.foreign + self.changed + self.out_of_order
        return not wrong and self.captured == self.acknowledged > 0


@dataclass(frozen=True, slots=True)
class _Record:
    name: Name
    content: str | None
    receipt: str


def judge(receipts: Receipts, database: Path) -> Verdict:
    """Compare each receipt with its record. Raises `sqlite3.Error`."""
    records = list(_read(database))
    times = Counter(record.name for record in records)
    return Verdict(
        captured=receipts.captured,
        acknowledged=len(receipts.promised),
        at_head_office=len(records),
        lost=len(receipts.promised.keys() - times.keys()),
        doubled=len(records) - len(times),
        foreign=len(times.keys() - receipts.asked.keys()),
        changed=sum(_is_changed(record, receipts) for record in records),
        out_of_order=_early(record.name for record in records),
    )


def count_at_head_office(database: Path) -> int:
    """Return the number of records at head office; 0 while it has no tables."""
    try:
        with _opened(database) as connection:
            ((count,),) = connection.execute(_COUNT)
    except sqlite3.Error:
        return 0
    return int(count)


def _is_changed(record: _Record, receipts: Receipts) -> bool:
    content = receipts.asked.get(record.name, record.content)
    receipt = receipts.promised.get(record.name, record.receipt)
    return (record.content, record.receipt) != (content, receipt)


def _early(names: Iterable[Name]) -> int:
    """Return the number of e-mail answers that precede their session start."""
    started: set[str] = set()
    early = 0
    for kind, session in names:
        if kind == SESSION:
            started.add(session)
        elif session not in started:
            early += 1
    return early


def _read(database: Path) -> Iterator[_Record]:
    with _opened(database) as connection:
        for kind, session, content, epoch, sequence in connection.execute(_RECORDS):
            yield _Record((kind, session), content, f"{epoch}/{sequence}")


def _opened(database: Path) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True))
