"""Closed tills: the agent stopped in order and has sent nothing since. Pure, no I/O.

The last heartbeat before an orderly stop says `closed`. It can arrive after the first message of
the next start, and an earlier message can arrive after it. So the columns keep the sending time of
the message that was sent last. Messages of one boot are ordered by its monotonic clock, those of
two boots by our time at sending.

The columns belong to the till and are in the row of its current epoch. The row of an epoch that has
ended keeps its last values.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import RowMapping

from sync.receiver.ingest.rows import Row
from sync.receiver.ingest.times.clock_skew import time_at

# Returns our time when the clock of a boot read zero; None if the boot is unknown.
ZeroOf = Callable[[str], datetime | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """Sending time of a message by the clock of its boot; None if its agent does not send it."""

    boot_id: str
    monotonic_us: int | None


@dataclass(frozen=True, slots=True)
class LastMessage:
    """The message of a till that was sent last; `closed_at`: its receipt, if it said `closed`."""

    closed_at: datetime | None = None
    heard_boot_id: str | None = None
    heard_monotonic_us: int | None = None

    def after(
        self, sent: Sent, now: datetime, zero_of: ZeroOf, *, is_closed: bool = False
    ) -> "LastMessage":
        """Return the last message after another one arrived, in or out of order."""
        if self._is_later_than(sent, now, zero_of):
            return self
        return LastMessage(now if is_closed else None, sent.boot_id, sent.monotonic_us)

    def row(self) -> Row:
        """Return the columns."""
        return asdict(self)

    def _is_later_than(self, sent: Sent, now: datetime, zero_of: ZeroOf) -> bool:
        own_boot, own_us = self.heard_boot_id, self.heard_monotonic_us
        if own_boot is None or own_us is None or sent.monotonic_us is None:
            return False
        if own_boot == sent.boot_id:
            return own_us > sent.monotonic_us
        own_at = _sent_at(zero_of(own_boot), own_us)
        other_at = _sent_at(zero_of(sent.boot_id), sent.monotonic_us)
        # A time in the future: our own clock was ahead.
        return own_at is not None and other_at is not None and other_at < own_at <= now


def last_message_of(current: RowMapping | None) -> LastMessage:
    """Return the last message of a till by the row of its current epoch."""
    if current is None:
        return LastMessage()
    return LastMessage(*(current[name] for name in LastMessage.__dataclass_fields__))


def _sent_at(zero_at: datetime | None, monotonic_us: int) -> datetime | None:
    return None if zero_at is None else time_at(zero_at, monotonic_us)
