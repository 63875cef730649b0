"""The ledger: store batches and heartbeats, one transaction each; durable before answered."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from msgspec import structs
from sqlalchemy import Connection, RowMapping

from sync.protocol.bundle.contents import BundleHead
from sync.protocol.rfc3339 import from_rfc3339
from sync.protocol.wire import ErrorCode, HeartbeatAnswer
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db import conditions, statements, tables
from sync.receiver.db.bulk_insert import insert_rows, insert_values
from sync.receiver.db.database import Database, refused_value
from sync.receiver.db.limits import BATCHES_AT_ONCE, HEARTBEATS_AT_ONCE, LimitedWrites
from sync.receiver.ingest.accept import accept_events
from sync.receiver.ingest.agent_transaction import AgentTransaction, TooManyEpochs
from sync.receiver.ingest.epochs.closing import Sent
from sync.receiver.ingest.events import (
    AnswerEvent,
    Event,
    InvalidEvent,
    SessionEvent,
    invalid_event,
    type_of,
)
from sync.receiver.ingest.heartbeat import store_heartbeat, store_overtaken
from sync.receiver.ingest.hourly_rollup import roll_up
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.lookup import look_up, look_up_purged
from sync.receiver.ingest.parse import InboundBatch, InboundHeartbeat
from sync.receiver.ingest.placement import Placement, SequenceGap, place_batch
from sync.receiver.ingest.rows import (
    Row,
    corrected_times,
    duplicate_row,
    epoch_key,
    event_columns,
    event_values,
    gap_row,
)
from sync.receiver.ingest.slices import halves_of, slices_of, turns_of
from sync.receiver.ingest.times.clock_skew import BootZero, SkewCorrector
from sync.receiver.ingest.times.uncertain_times import note_uncertain
from sync.runtime.settings.types import EVERY_STORE

# Each takes transactions of its own. The answer to a batch with more comes before its sender gives
# up, and confirms only the events up to there; the agent sends the others next.
MOST_REFUSED = 100
# On PostgreSQL a plan for any values, made while the tables are small, reads the whole store for
# each batch until they are analysed. A plan for its own values costs a small batch too much.
_PLANNED_EVENTS = 100
_PLAN_FOR_VALUES = "SET LOCAL plan_cache_mode = force_custom_plan"


class Ledger:
    """Head office's ledger in one database.

    In `shared_session_stores` (`EVERY_STORE`: in all) tills answer for each other's sessions.
    """

    def __init__(self, database: Database, shared_session_stores: Collection[str] = ()) -> None:
        self._batches = LimitedWrites(database, BATCHES_AT_ONCE)
        self._heartbeats = LimitedWrites(database, HEARTBEATS_AT_ONCE)
        self._shared_session_stores = frozenset(shared_session_stores)

    async def store_batch(
        self, inbound: InboundBatch
    ) -> AcceptedBatch | SequenceGap | TooManyEpochs:
        """Store a batch; the returned result is durable.

        Nothing is stored if it returns `SequenceGap` or `TooManyEpochs`, or raises
        `MalformedBatch`. After a failure of the database the first turns of a long batch may be
        stored; the agent sends all again, and resent events have no effect.
        """
        named = {EVERY_STORE, inbound.sender.name.store_id}
        shares_sessions = not named.isdisjoint(self._shared_session_stores)
        result: AcceptedBatch | None = None
        refused = 0
        turns = deque(turns_of(inbound))
        while turns:
            turn = turns.popleft()
            store = partial(
                _store_batch,
                inbound=turn,
                # The first turn checks all numbers: nothing is stored of a batch that is refused.
                checked=inbound if result is None else turn,
                shares_sessions=shares_sessions,
            )
            try:
                outcome = await self._batches.write(store)
            except Exception as error:
                if (reason := refused_value(error)) is None:
                    raise
                if not (parts := _without_refused(turn, reason)):
                    raise
                turns.extendleft(reversed(parts))
                refused += len(parts) == 1
                continue
            if not isinstance(outcome, AcceptedBatch):
                return outcome
            if result is not None:
                result.extend(outcome)
                outcome = replace(result, accepted_through=outcome.accepted_through)
            result = outcome
            if refused >= MOST_REFUSED and turns and not inbound.is_carried:
                # Those of a repeat may be known, and rejected without being named in this answer.
                through = min(result.accepted_through, turn.events[-1].sequence)
                return replace(result, accepted_through=through)
        assert result is not None, "a batch has one turn at least"  # noqa: S101 - for the types
        return result

    async def store_heartbeat(self, inbound: InboundHeartbeat) -> HeartbeatAnswer | TooManyEpochs:
        """Store a heartbeat; return `accepted_through` of each epoch that it names.

        The answer also lists numbers that are rejected there, up to `MAX_REJECTED_NAMED`.
        """
        return await self._heartbeats.write(partial(store_heartbeat, inbound=inbound))

    async def store_carried_head(
        self, sender: EnrolledAgent, head: BundleHead, now: datetime
    ) -> None:
        """Store the head of a bundle: the extent of its till's epochs, and when it was written.

        Before its batches: else those of an older bundle, imported later, would make its epoch the
        current one. Epochs beyond the till's bounds are left out, and their batches are refused.
        """

        def store(connection: Connection) -> None:
            transaction = AgentTransaction(connection, sender, now)
            *older, current = head.epochs
            rows = transaction.lock_epochs(current.epoch, [one.epoch for one in older])
            store_overtaken(transaction, head.epochs, rows)
            written_at = from_rfc3339(head.written_at)
            if written_at is not None:
                transaction.note_carried(written_at, head.agent_version)

        await self._batches.write(store)


def _store_batch(
    connection: Connection, inbound: InboundBatch, *, checked: InboundBatch, shares_sessions: bool
) -> AcceptedBatch | SequenceGap | TooManyEpochs:
    batch = inbound.batch
    transaction = AgentTransaction(connection, inbound.sender, inbound.received_at)
    if transaction.dialect == "postgresql" and len(inbound.events) >= _PLANNED_EVENTS:
        connection.exec_driver_sql(_PLAN_FOR_VALUES)
    epoch = transaction.lock_epoch(batch.epoch)
    if epoch is None:
        return TooManyEpochs()

    placement = _place(checked, epoch)
    if checked is not inbound and isinstance(placement, Placement):
        placement = _place(inbound, epoch)
    if isinstance(placement, SequenceGap):
        return placement
    corrector = _skew_corrector(transaction, inbound, epoch["newest_trusted_at"])
    result = AcceptedBatch(placement.accepted_through)
    for part in slices_of(inbound):
        purged = look_up_purged(connection, part, epoch["purged_through"], corrector)
        state = replace(look_up(connection, part, placement.resent), purged=purged)
        accepted = accept_events(part.events, placement, state, shares_sessions=shares_sessions)
        times = corrected_times(part, accepted, corrector)
        _write(transaction, batch.epoch, accepted, times)
        note_uncertain(transaction, part, times, corrector)
        result.extend(accepted)
        # The gap before the batch is now written.
        placement = replace(placement, gap=None)
    sent = Sent(batch.boot_id, batch.sent_monotonic_us)
    contact: Row = {}
    if not inbound.is_carried:
        contact = {"last_seen_at": inbound.received_at, "agent_version": batch.agent_version}
        # The row of another epoch than the current one tells nothing of the till.
        if epoch["is_current"]:
            contact |= transaction.last_message(sent).row()
    transaction.execute(
        statements.UPDATE_AGENT,
        batch.epoch,
        accepted_through=result.accepted_through,
        last_sequence=max(epoch["last_sequence"], result.accepted_through),
        newest_trusted_at=corrector.newest_trusted_at,
        **_ended(inbound, epoch, result.accepted_through),
        **contact,
    )
    if not (epoch["is_current"] or inbound.is_carried):
        transaction.note_contact(sent)
    return result


def _without_refused(turn: InboundBatch, reason: str) -> Sequence[InboundBatch]:
    """Return the batches to store instead of a turn with a value that the database refuses.

    Its halves, which finds the event in transactions of no more events in all than a few times the
    batch. A single event is rejected; if even that cannot be stored, without its correlation id.
    """
    if len(turn.events) > 1:
        return list(halves_of(turn))
    rejected = [_rejected(event, reason) for event in turn.events]
    return [] if rejected == list(turn.events) else [replace(turn, events=rejected)]


def _rejected(event: Event, reason: str) -> InvalidEvent:
    if isinstance(event, InvalidEvent):
        return structs.replace(event, correlation_id="")
    message = f"The database of head office refuses a value of this event ({reason})"
    kind, name = type_of(event), event.correlation_id
    return invalid_event(event.sequence, kind, name, ErrorCode.UNSTORABLE, message)


def _ended(inbound: InboundBatch, epoch: RowMapping, accepted_through: int) -> Row:
    """Return `ended_through` if the batch changes it: by its word, or by an event beyond it."""
    is_last = inbound.batch.ends_epoch and bool(inbound.events)
    last_sequence = max(epoch["last_sequence"], accepted_through)
    if is_last and inbound.events[-1].sequence == last_sequence:
        return {"ended_through": last_sequence}
    before = epoch["ended_through"]
    if before is not None and accepted_through > before:
        return {"ended_through": None}
    return {}


def _place(inbound: InboundBatch, epoch: RowMapping) -> Placement | SequenceGap:
    numbers = [event.sequence for event in inbound.events]
    accepted_through, last_known = epoch["accepted_through"], epoch["last_sequence"]
    return place_batch(numbers, inbound.batch.base_sequence, accepted_through, last_known)


def _skew_corrector(
    transaction: AgentTransaction, inbound: InboundBatch, newest_trusted_at: datetime | None
) -> SkewCorrector:
    batch = inbound.batch
    zeros: dict[str, BootZero] = {}
    if batch.sent_monotonic_us is not None:
        zeros = transaction.store_boot(batch.boot_id, batch.sent_monotonic_us, batch.round_trip_us)
    boot_ids = {batch.boot_id, *(e.boot_id for e in batch.events if e.boot_id)} - zeros.keys()
    if boot_ids:
        zeros |= transaction.find_boots(boot_ids)
    return SkewCorrector(inbound.received_at, zeros, newest_trusted_at)


def _write(
    transaction: AgentTransaction,
    epoch: str,
    accepted: AcceptedBatch,
    times: Mapping[int, datetime | None],
) -> None:
    connection, now = transaction.connection, transaction.now
    if accepted.readmitted:
        transaction.execute(statements.DELETE_REJECTIONS, epoch, numbers=accepted.readmitted)
    if accepted.gaps_deleted:
        firsts = [gap.first for gap in accepted.gaps_deleted]
        transaction.execute(statements.DELETE_GAPS, epoch, numbers=firsts)
    key = epoch_key(transaction.agent.name, epoch)
    common: Row = {**key, "received_at": now}
    for table, kind, events in (
        (tables.sessions, SessionEvent, accepted.sessions),
        (tables.answers, AnswerEvent, accepted.answers),
    ):
        insert_values(connection, table, event_columns(kind), event_values(events, times), common)
    rejected = [structs.astuple(event) for event in accepted.rejected]
    insert_values(connection, tables.rejections, InvalidEvent.__struct_fields__, rejected, common)
    insert_rows(
        connection, tables.duplicates, list(map(duplicate_row, accepted.duplicates)), common
    )
    insert_rows(connection, tables.gaps, [gap_row(key, gap, now) for gap in accepted.gaps_added])
    till = {"store_id": key["store_id"], "till_id": key["till_id"]}
    if hours := [{**till, **hour} for hour in roll_up(accepted, times, now)]:
        connection.execute(statements.upsert_hours(transaction.dialect), hours)
    if accepted.restored:
        agent = conditions.params_for(transaction.agent.name, epoch)
        restored = [
            {**agent, "of_sequence": answer.sequence, "address": answer.email_address}
            for answer in accepted.restored
        ]
        connection.execute(statements.RESTORE_ADDRESS, restored)
