"""The ledger: store batches and heartbeats, one transaction each.

lock the agent's row > place > look up > judge > write > commit > respond
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, CursorResult, Executable, RowMapping

from sync.protocol.wire import AcceptedThrough, EpochExtent, EpochSequence, HeartbeatAnswer
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db import statements
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.database import Database
from sync.receiver.ingest.accept import AcceptedBatch, SequenceGap, judge, place, unheld
from sync.receiver.ingest.clock_skew import Corrector, zero_of_boot
from sync.receiver.ingest.inbound import BatchArrival, HeartbeatArrival
from sync.receiver.ingest.lookup import look_up
from sync.receiver.ingest.rows import Row, Rows, Times, epoch_key, gap_row


class Ledger:
    """Head office's ledger in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, arrival: BatchArrival) -> AcceptedBatch | SequenceGap:
        """Store a batch; the returned result is durable.

        Nothing is stored if it returns `SequenceGap` or raises `MalformedBatch`.
        """
        return await self._database.write(
            lambda connection: _Writing(connection, arrival.caller, arrival.received_at).take(
                arrival
            )
        )

    async def hear(self, arrival: HeartbeatArrival) -> HeartbeatAnswer:
        """Store a heartbeat; return `accepted_through` of each epoch that it names.

        The answer also lists numbers that are rejected there, up to `MOST_REJECTED_NAMED`.
        """
        return await self._database.write(
            lambda connection: _Writing(connection, arrival.caller, arrival.received_at).hear(
                arrival
            )
        )


class _Writing:
    """One transaction for one agent."""

    def __init__(self, connection: Connection, caller: EnrolledAgent, at: datetime) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self._caller = caller
        self._name = caller.name
        self._at = at

    def take(self, arrival: BatchArrival) -> AcceptedBatch | SequenceGap:
        batch = arrival.batch
        agent = self._agent(batch.epoch)
        numbers = [event.sequence for event in arrival.events]
        placed = place(numbers, batch.base_sequence, agent["accepted_through"])
        if isinstance(placed, SequenceGap):
            return placed
        known = look_up(self._connection, arrival, placed.repeats)
        taken = judge(arrival.events, placed, known, agent["purged_through"])
        corrector = self._corrector(arrival, agent["newest_trusted_at"])
        rows = Rows(arrival, Times.of(arrival, taken, corrector))
        self._write(batch.epoch, taken, rows)
        self._execute(
            statements.UPDATE_AGENT,
            batch.epoch,
            accepted_through=taken.accepted_through,
            last_sequence=max(agent["last_sequence"], taken.accepted_through),
            last_seen_at=self._at,
            agent_version=batch.agent_version,
            newest_trusted_at=corrector.newest_trusted_at,
        )
        return taken

    def hear(self, arrival: HeartbeatArrival) -> HeartbeatAnswer:
        heartbeat = arrival.heartbeat
        current = EpochExtent(
            epoch=heartbeat.epoch,
            last_sequence=heartbeat.last_sequence,
            base_sequence=heartbeat.base_sequence,
        )
        extents = {extent.epoch: extent for extent in (*heartbeat.epochs, current)}
        accepted = self._note_extents(list(extents.values()))
        # Lock order: agent row before boot row, as for a batch; otherwise the two can deadlock.
        self._anchor(heartbeat.boot_id, heartbeat.sent_monotonic_us)
        self._execute(
            statements.UPDATE_HEARTBEAT,
            heartbeat.epoch,
            last_seen_at=self._at,
            agent_version=heartbeat.agent_version,
            heartbeat_at=self._at,
            agent_sent_at=arrival.sent_at,
            watermark=heartbeat.watermark,
            outstanding=heartbeat.outstanding,
            dead_letters=heartbeat.dead_letters,
            oldest_undelivered_at=arrival.oldest_undelivered_at,
            last_activity_at=arrival.last_activity_at,
            database_bytes=heartbeat.database_bytes,
            free_bytes=heartbeat.free_bytes,
        )
        rejected = self._rejected(list(extents), heartbeat.rejected_after)
        return HeartbeatAnswer(epochs=accepted, rejected=rejected)

    def _agent(self, epoch: str) -> RowMapping:
        """Return the epoch's row, locked until commit; insert it if absent."""
        return self._agents([epoch])[epoch]

    def _agents(self, epochs: Sequence[str]) -> dict[str, RowMapping]:
        """Return the rows of several epochs, by epoch, locked and inserted as in `_agent`."""
        found = self._find_agents(epochs)
        absent = [epoch for epoch in epochs if epoch not in found]
        if not absent:
            return found
        self._connection.execute(statements.insert_agents(self._dialect), self._new_agents(absent))
        return self._find_agents(epochs)

    def _find_agents(self, epochs: Sequence[str]) -> dict[str, RowMapping]:
        found = self._execute(statements.SELECT_AGENTS_FOR_UPDATE, epochs=epochs)
        return {row["epoch"]: row for row in found.mappings()}

    def _new_agents(self, epochs: Sequence[str]) -> list[Row]:
        """Return new rows. If a row was deleted, it resumes after the highest stored number."""
        found = self._execute(statements.SELECT_HIGHEST_NUMBERS, epochs=epochs)
        standing = {row["epoch"]: row["through"] for row in found.mappings()}
        return [
            {
                **epoch_key(self._name, epoch),
                "accepted_through": standing.get(epoch, 0),
                "last_sequence": standing.get(epoch, 0),
                "enrolled_at": self._caller.enrolled_at,
            }
            for epoch in sorted(epochs)
        ]

    def _note_extents(self, extents: Sequence[EpochExtent]) -> list[AcceptedThrough]:
        """Store how far the epochs extend; return their `accepted_through`."""
        agents = self._agents([extent.epoch for extent in extents])
        return [self._note_extent(extent, agents[extent.epoch]) for extent in extents]

    def _note_extent(self, extent: EpochExtent, agent: RowMapping) -> AcceptedThrough:
        before = (agent["last_sequence"], agent["accepted_through"])
        last_sequence, accepted_through = max(extent.last_sequence, before[0]), before[1]
        # Events that no longer exist anywhere will never arrive in a batch: head office was
        # restored from a backup after the agent had purged them.
        missing = unheld(min(extent.base_sequence, extent.last_sequence + 1), accepted_through)
        if missing is not None:
            accepted_through = missing.last
            row = gap_row(epoch_key(self._name, extent.epoch), missing, self._at)
            insert_rows(self._connection, statements.gaps, [row])
        if (last_sequence, accepted_through) != before:
            self._execute(
                statements.UPDATE_AGENT,
                extent.epoch,
                last_sequence=last_sequence,
                accepted_through=accepted_through,
            )
        return AcceptedThrough(epoch=extent.epoch, accepted_through=accepted_through)

    def _rejected(self, epochs: Sequence[str], after: EpochSequence | None) -> list[EpochSequence]:
        """Return a page of rejected numbers: the agent may have them as delivered."""
        after = after or EpochSequence(epoch="", sequence=0)
        found = self._execute(
            statements.SELECT_REJECTED, after_epoch=after.epoch, after=after.sequence, epochs=epochs
        )
        return [EpochSequence(**row) for row in found.mappings()]

    def _execute(
        self, statement: Executable, epoch: str | None = None, **values: object
    ) -> CursorResult[tuple[object, ...]]:
        """Run a statement bound to our agent and, if given, the epoch."""
        return self._connection.execute(
            statement, {**statements.params_for(self._name, epoch), **values}
        )

    def _corrector(self, arrival: BatchArrival, newest: datetime | None) -> Corrector:
        batch = arrival.batch
        zeros: dict[str, datetime] = {}
        if batch.sent_monotonic_us is not None:
            zeros = self._anchor(batch.boot_id, batch.sent_monotonic_us)
        boot_ids = {batch.boot_id, *(e.boot_id for e in batch.events if e.boot_id)} - zeros.keys()
        if boot_ids:
            found = self._execute(statements.SELECT_BOOTS, boot_ids=boot_ids)
            zeros |= {row["boot_id"]: row["zero_at"] for row in found.mappings()}
        return Corrector(self._at, zeros, newest)

    def _anchor(self, boot_id: str, sent_monotonic_us: int) -> dict[str, datetime]:
        """Store and return our time when the boot's monotonic clock read zero."""
        zero_at = zero_of_boot(self._at, sent_monotonic_us)
        if zero_at is None:
            return {}
        row: Row = {
            "store_id": self._name.store_id,
            "till_id": self._name.till_id,
            "boot_id": boot_id,
            "zero_at": zero_at,
        }
        self._connection.execute(statements.upsert_boot(self._dialect), row)
        return {boot_id: zero_at}

    def _write(self, epoch: str, taken: AcceptedBatch, rows: Rows) -> None:
        if taken.readmitted:
            self._execute(statements.DELETE_REJECTIONS, epoch, numbers=taken.readmitted)
        if taken.gaps_gone:
            firsts = [gap.first for gap in taken.gaps_gone]
            self._execute(statements.DELETE_GAPS, epoch, numbers=firsts)
        for table, added in (
            (statements.sessions, [*map(rows.session, taken.sessions)]),
            (statements.answers, [*map(rows.answer, taken.answers)]),
            (statements.rejections, [*map(rows.rejection, taken.refused)]),
            (statements.duplicates, [*map(rows.double, taken.duplicates)]),
        ):
            insert_rows(self._connection, table, added, rows.alike)
        insert_rows(self._connection, statements.gaps, [*map(rows.gap, taken.gaps_noted)])
        if counted := rows.hours(taken):
            self._connection.execute(statements.upsert_hours(self._dialect), counted)
        for answer in taken.restored:
            self._connection.execute(statements.RESTORE_ADDRESS, rows.restored(answer))
