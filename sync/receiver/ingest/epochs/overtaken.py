"""Heartbeats that arrive after one that was sent later, as from a line that was down. Pure, no I/O.

The later one tells the state of the till; what an overtaken one says of it was true before. Such a
message is late by the zero point of its boot (`clock_skew`). Within the boot of the last heartbeat
the monotonic clock tells the order; between two boots it is the time at which it was sent.

The first message of a boot has nothing to be compared with, and one of few may have been held up
with the others. Where it does not know the till's current epoch, it decides nothing, and the second
one only if by the wall clock it was sent after the last heartbeat.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import RowMapping

from sync.receiver.ingest.epochs.shared_name import Speaker, name_use_of
from sync.receiver.ingest.times.clock_skew import BootClock

# Latency, and drift of the clock since its best message, look like a delay.
_USUAL_DELAY = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Sending:
    """How a heartbeat was sent: by whom, when by the clocks of its machine, and what it names.

    `zero_at` is our time when its monotonic clock read zero, by this message alone.
    """

    speaker: Speaker
    sent_us: int
    sent_at: datetime | None
    zero_at: datetime | None
    epochs: Collection[str]


def is_overtaken(
    sending: Sending, current: RowMapping, boot: BootClock | None, now: datetime
) -> bool:
    """Return whether a heartbeat was sent before the till's last one.

    `current` is the row of the till's current epoch, `boot` the clock of the message's boot by the
    messages before.
    """
    is_late = boot is None or _delay(sending, boot) > _USUAL_DELAY
    use = name_use_of(current)
    last = use.last
    if last and last.boot_id == sending.speaker.boot_id and use.speaker_sent_us is not None:
        behind = timedelta(microseconds=use.speaker_sent_us - sending.sent_us)
        # The delay as well: or a monotonic clock that steps back silences its till. Not for a
        # message that was passed on its way: an agent that restarts would look like two.
        return behind > timedelta() and (is_late or behind <= _USUAL_DELAY)
    # Sent after that epoch began, as it names it.
    is_current = current["epoch"] in sending.epochs
    told_at = current["heartbeat_at"] or (None if is_current else current["begun_at"])
    if told_at is None:
        return False
    if not is_current and not (boot and boot.is_confirmed):
        before, sent_at = current["agent_sent_at"], sending.sent_at
        if boot is None or (before and sent_at and sent_at < before):
            return True
    return boot is not None and is_late and now - _delay(sending, boot) < told_at


def _delay(sending: Sending, boot: BootClock) -> timedelta:
    return timedelta() if sending.zero_at is None else sending.zero_at - boot.zero_at
