"""One transaction on the ledger for one agent: its epochs locked, its boots stored."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, CursorResult, Executable, RowMapping

from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db import statements
from sync.receiver.ingest.clock_skew import boot_zero
from sync.receiver.ingest.rows import Row, epoch_key


class AgentTransaction:
    """Statements for one agent in the transaction of `connection`. `now` is the time of receipt.

    Lock order: agent rows first, ordered by epoch, then boot rows. Otherwise two messages of one
    agent can deadlock.
    """

    def __init__(self, connection: Connection, agent: EnrolledAgent, now: datetime) -> None:
        self.connection = connection
        self.dialect = connection.dialect.name
        self.agent = agent
        self.now = now

    def execute(
        self, statement: Executable, epoch: str | None = None, **values: object
    ) -> CursorResult[tuple[object, ...]]:
        """Run a statement bound to the agent and, if given, the epoch."""
        key = statements.params_for(self.agent.name, epoch)
        return self.connection.execute(statement, {**key, **values})

    def lock_epochs(self, epochs: Sequence[str]) -> dict[str, RowMapping]:
        """Return the rows of the epochs, locked until commit; insert them if absent."""
        found = self._select_epochs(epochs)
        absent = [epoch for epoch in epochs if epoch not in found]
        if not absent:
            return found
        insert = statements.insert_agents(self.dialect)
        self.connection.execute(insert, self._new_epochs(absent))
        return self._select_epochs(epochs)

    def store_boot(self, boot_id: str, sent_monotonic_us: int) -> dict[str, datetime]:
        """Store and return our time when the boot's monotonic clock read zero."""
        zero_at = boot_zero(self.now, sent_monotonic_us)
        if zero_at is None:
            return {}
        row: Row = {
            "store_id": self.agent.name.store_id,
            "till_id": self.agent.name.till_id,
            "boot_id": boot_id,
            "zero_at": zero_at,
        }
        self.connection.execute(statements.upsert_boot(self.dialect), row)
        return {boot_id: zero_at}

    def _select_epochs(self, epochs: Sequence[str]) -> dict[str, RowMapping]:
        rows = self.execute(statements.SELECT_AGENTS_FOR_UPDATE, epochs=epochs).mappings()
        return {row["epoch"]: row for row in rows}

    def _new_epochs(self, epochs: Sequence[str]) -> list[Row]:
        """Return new rows. If a row was deleted, it resumes after the highest stored number."""
        rows = self.execute(statements.SELECT_HIGHEST_NUMBERS, epochs=epochs).mappings()
        highest = {row["epoch"]: row["through"] for row in rows}
        return [
            {
                **epoch_key(self.agent.name, epoch),
                "accepted_through": highest.get(epoch, 0),
                "last_sequence": highest.get(epoch, 0),
                "enrolled_at": self.agent.enrolled_at,
            }
            for epoch in sorted(epochs)
        ]
