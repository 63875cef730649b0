"""Result of a drill: the tills' receipts compared with the receiver's tables."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.drill.simulated_tills import EMAIL, SESSION, CaptureId, Receipts

_RECORDS = f"""
SELECT '{SESSION}', correlation_id, body, epoch, sequence FROM sessions
UNION ALL
SELECT '{EMAIL}', correlation_id, email_address, epoch, sequence FROM email_answers
ORDER BY epoch, sequence
"""  # noqa: S608 - two constants of ours
_COUNT = "SELECT (SELECT COUNT(*) FROM sessions) + (SELECT COUNT(*) FROM email_answers)"


@dataclass(frozen=True, slots=True)
class DrillResult:
    """Counts of a drill; those after `at_head_office` must be 0.

    `unknown` records were not requested by a till; `changed` records differ in content or in
    sequence number from the till's receipt.
    """

    captured: int = 0
    acknowledged: int = 0
    at_head_office: int = 0
    lost: int = 0
    duplicated: int = 0
    unknown: int = 0
    changed: int = 0
    out_of_order: int = 0

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0 and are not, by name."""
        expected = {"captured", "acknowledged", "at_head_office"}
        return {name: n for name, n in asdict(self).items() if n and name not in expected}

    @property
    def is_good(self) -> bool:
        """Return whether there were captures, all acknowledged and all intact at head office."""
        return not self.faults and self.captured == self.acknowledged > 0


def compare(receipts: Receipts, database: Path) -> DrillResult:
    """Compare each receipt with its record. Raises `sqlite3.Error`."""
    with _open(database) as connection:
        rows = connection.execute(_RECORDS).fetchall()
    captures = [(kind, session) for kind, session, *_ in rows]
    changed = 0
    for capture, (_, _, content, epoch, sequence) in zip(captures, rows, strict=True):
        receipt = f"{epoch}/{sequence}"
        is_same = receipts.requested.get(capture, content) == content
        changed += not is_same or receipts.acknowledged.get(capture, receipt) != receipt
    times = Counter(captures)
    return DrillResult(
        captured=len(receipts.requested),
        acknowledged=len(receipts.acknowledged),
        at_head_office=len(captures),
        lost=len(receipts.acknowledged.keys() - times.keys()),
        duplicated=len(captures) - len(times),
        unknown=len(times.keys() - receipts.requested.keys()),
        changed=changed,
        out_of_order=_count_early_answers(captures),
    )


def count_records(database: Path) -> int:
    """Return the number of records at head office; 0 while it has no tables."""
    try:
        with _open(database) as connection:
            ((count,),) = connection.execute(_COUNT)
    except sqlite3.Error:
        return 0
    return int(count)


def _count_early_answers(captures: Iterable[CaptureId]) -> int:
    """Return the number of e-mail answers that precede their session start."""
    started: set[str] = set()
    early = 0
    for kind, session in captures:
        if kind == SESSION:
            started.add(session)
        elif session not in started:
            early += 1
    return early


def _open(database: Path) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True))
