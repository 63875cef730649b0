"""Parsed messages from agents, with sender and time of receipt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sync.protocol.wire import Batch, Heartbeat
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.ingest.events import Event


@dataclass(frozen=True, slots=True)
class BatchArrival:
    """A batch with its parsed events."""

    caller: EnrolledAgent
    batch: Batch
    events: Sequence[Event]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class HeartbeatArrival:
    """A heartbeat with its times parsed."""

    caller: EnrolledAgent
    heartbeat: Heartbeat
    sent_at: datetime | None
    oldest_undelivered_at: datetime | None
    last_activity_at: datetime | None
    received_at: datetime
