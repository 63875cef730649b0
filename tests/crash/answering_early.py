"""Control: an agent that answers before the commit.

It proves that the crash tests detect such a fault. Start it instead of the agent with
`python -m tests.crash.answering_early --config FILE run`.
"""

import itertools

from agent.cli import main
from agent.store.journal.insert import GroupInserter

GROUPS_PER_COMMIT = 8
_groups = itertools.count()


class LateInserter(GroupInserter):
    """Leaves the transaction open: a later group commits it, after its captures were answered."""

    def insert(self, values: list[object]) -> None:
        """Write the rows without committing."""
        if self._connection.in_transaction and next(_groups) % GROUPS_PER_COMMIT == 0:
            self._connection.execute("COMMIT")
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        super().insert(values)


if __name__ == "__main__":
    import agent.store.journal.journal

    vars(agent.store.journal.journal)["GroupInserter"] = LateInserter
    main()
