"""Driver for contract tests: sends batches and heartbeats to a ledger, reads its rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, Table, select

from sync.protocol.wire import HeartbeatAnswer
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db import statements
from sync.receiver.db.database import Database
from sync.receiver.db.tables import LedgerTable, table_of
from sync.receiver.ingest.agent_transaction import AgentTransaction, TooManyEpochs
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.parse import parse_batch, parse_heartbeat
from sync.receiver.ingest.placement import SequenceGap
from sync.receiver.retention.purge import purge
from tests.support.head_office.messages import AT, Members, SimulatedAgent

Row = Mapping[str, object]


@dataclass(slots=True)
class LedgerDriver:
    """A head office at the time `at`."""

    database: Database
    at: datetime = AT
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.database)

    async def take(
        self, sender: SimulatedAgent, *events: Members, **members: object
    ) -> AcceptedBatch:
        """Ingest a batch that must be accepted; all numbers below its base are known."""
        if "baseSequence" in members:
            await self.know(sender, int(str(members["baseSequence"])) - 1)
        taken = await self.offer(sender, *events, **members)
        assert isinstance(taken, AcceptedBatch)
        return taken

    async def offer(
        self, sender: SimulatedAgent, *events: Members, **members: object
    ) -> AcceptedBatch | SequenceGap | TooManyEpochs:
        """Ingest a batch; return the outcome, also if it was not accepted."""
        return await self.offer_raw(sender, sender.batch(*events, **members))

    async def offer_raw(
        self, sender: SimulatedAgent, body: bytes
    ) -> AcceptedBatch | SequenceGap | TooManyEpochs:
        """Ingest a raw batch body; return the outcome, also if it was not accepted."""
        inbound = parse_batch(body, self._agent(sender), self.at)
        return await self.ledger.store_batch(inbound)

    async def heartbeat(self, sender: SimulatedAgent, **members: object) -> dict[str, int]:
        """Ingest a heartbeat; return the accepted position of each epoch."""
        answer = await self.offer_heartbeat(sender, **members)
        assert isinstance(answer, HeartbeatAnswer)
        return {one.epoch: one.accepted_through for one in answer.epochs}

    async def know(self, sender: SimulatedAgent, last_sequence: int) -> None:
        """Let it be known that the till has had the numbers up to `last_sequence`.

        As by a heartbeat before, of which nothing else is left.
        """

        def note(connection: Connection) -> None:
            transaction = AgentTransaction(connection, self._agent(sender), self.at)
            row = transaction.lock_epochs(sender.epoch)[sender.epoch]
            known = max(row["last_sequence"], last_sequence)
            transaction.execute(statements.UPDATE_AGENT, sender.epoch, last_sequence=known)

        await self.database.write(note)

    async def heartbeat_rejections(
        self, sender: SimulatedAgent, **members: object
    ) -> list[tuple[str, int]]:
        """Ingest a heartbeat; return the rejected events named in the response."""
        answer = await self.offer_heartbeat(sender, **members)
        assert isinstance(answer, HeartbeatAnswer)
        return [(one.epoch, one.sequence) for one in answer.rejected]

    async def rows(self, model: type[LedgerTable], *columns: str) -> list[tuple[object, ...]]:
        """Return columns of a table, ordered by its key."""
        return [tuple(row[name] for name in columns) for row in await self.all_rows(model)]

    async def all_rows(self, model: type[LedgerTable]) -> list[Row]:
        """Return all columns of a table, ordered by its key."""
        return await self.rows_of_table(table_of(model))

    async def rows_of_table(self, table: Table) -> list[Row]:
        """Return all columns of a table, ordered by its key."""
        found = select(table).order_by(*table.primary_key)
        return await self.database.read(
            lambda connection: [dict(row) for row in connection.execute(found).mappings()]
        )

    async def offer_heartbeat(
        self, sender: SimulatedAgent, **members: object
    ) -> HeartbeatAnswer | TooManyEpochs:
        """Ingest a heartbeat; return the outcome, also if it was not accepted."""
        body = sender.heartbeat(**members)
        return await self.ledger.store_heartbeat(
            parse_heartbeat(body, self._agent(sender), self.at)
        )

    def _agent(self, sender: SimulatedAgent) -> EnrolledAgent:
        return EnrolledAgent(sender.name, AT)


async def purge_before(office: LedgerDriver, days: int = 1) -> int:
    """Purge the events received before `AT` plus `days`, long after."""
    return await purge(office.database, AT + timedelta(days=days), AT + timedelta(days=40))
