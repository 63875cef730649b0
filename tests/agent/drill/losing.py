"""`loyalty-agent drill` with a planted fault: a session row is deleted before the verdict."""

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.cli import main
from agent.drill import day
from agent.drill.tills import Receipts
from agent.drill.verdict import Verdict, count_at_head_office, judge


def judge_after_a_loss(receipts: Receipts, database: Path) -> Verdict:
    """Delete a session once everything has arrived, then judge."""
    if 0 < len(receipts.promised) == len(receipts.asked) == count_at_head_office(database):
        with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
            connection.execute(
                "DELETE FROM sessions WHERE rowid = (SELECT MIN(rowid) FROM sessions)"
            )
    return judge(receipts, database)


if __name__ == "__main__":
    day.judge = judge_after_a_loss  # type: ignore[attr-defined] # the fault
    main()
