"""`loyalty-agent drill` with a planted fault: a session row is deleted before the result."""

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.cli import main
from agent.drill import scenario
from agent.drill.result import DrillResult, compare, count_records
from agent.drill.simulated_tills import Receipts


def compare_after_a_loss(receipts: Receipts, database: Path) -> DrillResult:
    """Delete a session once everything has arrived, then compare."""
    if 0 < len(receipts.acknowledged) == len(receipts.requested) == count_records(database):
        with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
            connection.execute(
                "DELETE FROM sessions WHERE rowid = (SELECT MIN(rowid) FROM sessions)"
            )
    return compare(receipts, database)


if __name__ == "__main__":
    scenario.compare = compare_after_a_loss  # type: ignore[attr-defined] # the fault
    main()
