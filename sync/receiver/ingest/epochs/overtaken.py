"""Overtaken heartbeats: they arrive after one that was sent later. Pure, no I/O.

The later heartbeat has the current state of the till, an overtaken one an earlier state. An
overtaken message is late by the zero point of its boot (`clock_skew`). Messages of one boot are
ordered by its monotonic clock, those of two boots by our time at sending.

The delay of a boot's first message is unknown, and its first few may have been delayed together. So
until the boot is confirmed, a message that does not name the till's current epoch counts as
overtaken: the first one always, a later one if its wall clock is before the last heartbeat's.
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
    """Speaker, sending time by the machine's clocks, and epochs of a heartbeat.

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

    `current` is the row of the till's current epoch, `boot` the clock of the message's boot by
    earlier messages.
    """
    is_late = boot is None or _delay(sending, boot) > _USUAL_DELAY
    use = name_use_of(current)
    last = use.last
    if last and last.boot_id == sending.speaker.boot_id and use.speaker_sent_us is not None:
        behind = timedelta(microseconds=use.speaker_sent_us - sending.sent_us)
        # A message far behind must also be late: otherwise a monotonic clock that steps back would
        # silence its till. One just behind was passed on its way, as when an agent restarts.
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
