"""A planted fault: the agent, but it answers before the commit.

The crash tests are worth something only if they find this one, started instead of the agent
as `python -m tests.crash.answering_early --config FILE run`.
"""

import itertools
from collections.abc import Callable

from agent.cli import main
from agent.store.journal.insert import Intake

GROUPS_PER_COMMIT = 8
_groups = itertools.count()


class LateIntake(Intake):
    """Leaves the transaction open: a later group commits it, after its captures were answered."""

    def write(self, values: list[object], meanwhile: Callable[[], None]) -> None:
        """Write the rows without their commit."""
        if self._connection.in_transaction and next(_groups) % GROUPS_PER_COMMIT == 0:
            self._connection.execute("COMMIT")
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        super().write(values, meanwhile)


if __name__ == "__main__":
    import agent.store.journal.journal

    vars(agent.store.journal.journal)["Intake"] = LateIntake
    main()
