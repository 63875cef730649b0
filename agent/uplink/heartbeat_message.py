"""Builds the heartbeat message from the state of the store."""

from collections.abc import Sequence
from dataclasses import asdict

from agent.store.queries.epoch_progress import EpochProgress
from agent.store.queries.status import SalvageStatus, StorageStatus
from sync.delivery.transports.batch.documents import Sender
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.wire import EpochExtent, EpochSequence, Heartbeat, SalvageCounts

# Half of them the newest; the others take turns. A database rarely has more than a few.
MAX_OLDER_EPOCHS = 100


def older_epochs(epochs: Sequence[EpochProgress], turn: int) -> Sequence[EpochProgress]:
    """Return the older epochs to name in the heartbeat number `turn`, of all in order."""
    if len(epochs) <= MAX_OLDER_EPOCHS:
        return epochs
    share = MAX_OLDER_EPOCHS // 2
    others, newest = epochs[:-share], epochs[-share:]
    first = turn * share % (-(-len(others) // share) * share)
    return [*others[first : first + share], *newest]


def heartbeat_of(
    status: StorageStatus,
    older: Sequence[EpochExtent],
    sender: Sender,
    rejected_after: EpochSequence | None,
    terms_refused: str | None,
    *,
    closed: bool,
) -> Heartbeat:
    """Return the message; `older`: reports of older epochs; `closed`: the agent stops in order."""
    now, current = sender.clock(), status.current
    return Heartbeat(
        store_id=sender.store_id,
        till_id=sender.till_id,
        epoch=current.epoch,
        boot_id=sender.boot_id,
        agent_version=sender.agent_version,
        sent_at=us_to_rfc3339(now.wall_us),
        sent_monotonic_us=now.monotonic_us,
        last_sequence=current.last_sequence,
        base_sequence=current.base_sequence,
        run_id=sender.run_id,
        round_trip_us=sender.round_trip.last_us,
        watermark=current.settled_through,
        outstanding=status.waiting,
        # Both need a person; head office counts them together.
        dead_letters=status.dead_letters + status.stuck,
        oldest_undelivered_at=_time(status.oldest_waiting_at_us),
        last_activity_at=_time(status.last_activity_at_us),
        database_bytes=status.database_bytes,
        free_bytes=status.free_bytes,
        epochs=list(older),
        rejected_after=rejected_after,
        salvage=_salvage(status.salvage),
        terms_refused=terms_refused,
        closed=closed,
    )


def _salvage(status: SalvageStatus) -> SalvageCounts | None:
    """Return the counts for head office; None if no database was ever quarantined."""
    if not (status.pending or status.salvaged or status.unreadable):
        return None
    return SalvageCounts(**asdict(status))


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else us_to_rfc3339(time_us)
