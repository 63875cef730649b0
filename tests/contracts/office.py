"""The ledger on a database under contract: asked in its own words, read back row by row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select

from sync.protocol.wire import HeartbeatAnswer
from sync.receiver.db.database import Database
from sync.receiver.db.tables import Ledger as LedgerTable
from sync.receiver.db.tables import table_of
from sync.receiver.ingest.accept import SequenceGap, Taken
from sync.receiver.ingest.inbound import BatchArrival, Caller
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.parse import read_batch, read_heartbeat
from tests.head_office.sender import AT, Members, Sender

Row = Mapping[str, object]


@dataclass(slots=True)
class Office:
    """Head office at the moment `at`."""

    database: Database
    at: datetime = AT
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.database)

    async def take(self, sender: Sender, *events: Members, **members: object) -> Taken:
        """Take a batch that fits."""
        taken = await self.offer(sender, *events, **members)
        assert isinstance(taken, Taken)
        return taken

    async def offer(
        self, sender: Sender, *events: Members, **members: object
    ) -> Taken | SequenceGap:
        """Take a batch, or say where it should begin."""
        return await self.offer_raw(sender, sender.batch(*events, **members))

    async def offer_raw(self, sender: Sender, body: bytes) -> Taken | SequenceGap:
        """Take a batch letter for letter, or say where it should begin."""
        batch, read = read_batch(body)
        return await self.ledger.take(BatchArrival(self._caller(sender), batch, read, self.at))

    async def hear(self, sender: Sender, **members: object) -> dict[str, int]:
        """Take a heartbeat; return how far each epoch is accounted for."""
        answer = await self._answer(sender, members)
        return {one.epoch: one.accepted_through for one in answer.epochs}

    async def hear_rejected(self, sender: Sender, **members: object) -> list[tuple[str, int]]:
        """Take a heartbeat; return what stands rejected, as far as it is named."""
        answer = await self._answer(sender, members)
        return [(one.epoch, one.sequence) for one in answer.rejected]

    async def rows(self, model: type[LedgerTable], *columns: str) -> list[tuple[object, ...]]:
        """Return these columns of a table, in the order of its key."""
        return [tuple(row[name] for name in columns) for row in await self.all_rows(model)]

    async def all_rows(self, model: type[LedgerTable]) -> list[Row]:
        """Return a table, in the order of its key."""
        table = table_of(model)
        found = select(table).order_by(*table.primary_key)
        return await self.database.read(
            lambda connection: [dict(row) for row in connection.execute(found).mappings()]
        )

    async def _answer(self, sender: Sender, members: Members) -> HeartbeatAnswer:
        body = sender.heartbeat(**members)
        return await self.ledger.hear(read_heartbeat(body, self._caller(sender), self.at))

    def _caller(self, sender: Sender) -> Caller:
        return Caller(sender.name, AT)
