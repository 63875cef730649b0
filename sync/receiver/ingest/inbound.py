"""What comes from an agent, with who sent it and when it came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sync.protocol.wire import Batch, Heartbeat
from sync.receiver.auth.tokens import AgentName
from sync.receiver.ingest.events import Event


@dataclass(frozen=True, slots=True)
class Caller:
    """An agent that has proved who it is. `enrolled_at`: since when its token is valid."""

    name: AgentName
    enrolled_at: datetime


@dataclass(frozen=True, slots=True)
class BatchArrival:
    """A batch, and what its events say."""

    caller: Caller
    batch: Batch
    events: Sequence[Event]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class HeartbeatArrival:
    """A heartbeat; its times are checked already."""

    caller: Caller
    heartbeat: Heartbeat
    sent_at: datetime | None
    oldest_undelivered_at: datetime | None
    last_activity_at: datetime | None
    received_at: datetime
