"""Two machines under one store and till id, as after a disk was cloned. Pure, no I/O.

A speaker is the boot of a machine, the epoch of its database and the process of its agent. One
machine never returns to an earlier speaker: a reboot has a new boot id, also after an image was
restored, and a restart has a new process. So a speaker that returns after another one was heard is
a second machine, or a second agent on the same one, unless its message was overtaken (`overtaken`).
An older database can be restored within a boot. So the name counts as shared only after
`MIN_RETURNS` returns, each within `FORGOTTEN_AFTER` of the one before.

Older agents send no process. Two of them with the same boot and epoch are one speaker.

The columns belong to the till and are in the row of its current epoch. The process has its own
column: an older receiver in a rolling upgrade compares `speaker` as boot and epoch, and would count
each change between the two formats as a return.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import RowMapping

from sync.protocol.wire import Heartbeat
from sync.receiver.ingest.rows import Row

MIN_RETURNS = 3
FORGOTTEN_AFTER = timedelta(days=1)
_CLOCKS_APART = timedelta(minutes=5)


class Speaker(NamedTuple):
    """The sender of a heartbeat. As text, its parts are separated by a space."""

    boot_id: str
    epoch: str
    run_id: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


@dataclass(frozen=True, slots=True)
class NameUse:
    """The last two speakers under the name of a till; number and last time of returns.

    `speaker` is the boot and epoch of the last one, `speaker_run_id` its process,
    `speaker_sent_us` its monotonic clock at its last heartbeat; `speaker_before` is the whole one.
    """

    speaker: str | None = None
    speaker_returns: int | None = None
    speaker_returned_at: datetime | None = None
    speaker_before: str | None = None
    speaker_sent_us: int | None = None
    speaker_run_id: str | None = None

    @property
    def last(self) -> Speaker | None:
        """The last speaker; None if there was none."""
        if self.speaker is None:
            return None
        boot_id, _, epoch = self.speaker.partition(" ")
        return Speaker(boot_id, epoch, self.speaker_run_id or "")

    def is_shared(self, now: datetime) -> bool:
        """Return whether two machines have used the name recently."""
        return (self.speaker_returns or 0) >= MIN_RETURNS and not self._is_over(now)

    def is_return(self, speaker: Speaker, *, boot_spoke: bool, epoch_spoke: bool) -> bool:
        """Return whether `speaker` returns after another one, so that there are two machines.

        `boot_spoke`, `epoch_spoke`: its boot, and its epoch, were heard before.
        """
        last = self.last
        if last is None or (speaker.run_id and speaker.run_id == last.run_id):
            return False
        if speaker[:2] == last[:2]:
            return str(speaker) == self.speaker_before
        return boot_spoke and (epoch_spoke or speaker.boot_id != last.boot_id)

    def after(self, speaker: Speaker, now: datetime, *, is_return: bool) -> "NameUse":
        """Return the use of the name after another speaker was heard."""
        use = replace(
            self,
            speaker=f"{speaker.boot_id} {speaker.epoch}",
            speaker_run_id=speaker.run_id or None,
            speaker_before=None if self.last is None else str(self.last),
            speaker_sent_us=None,
        )
        if not is_return:
            return use
        returns = 1 if self._is_over(now) else (self.speaker_returns or 0) + 1
        return replace(use, speaker_returns=returns, speaker_returned_at=now)

    def row(self) -> Row:
        """Return the columns."""
        return asdict(self)

    def _is_over(self, now: datetime) -> bool:
        at = self.speaker_returned_at
        # A time in the future: our own clock was ahead.
        return at is None or not -_CLOCKS_APART <= now - at <= FORGOTTEN_AFTER


def name_use_of(current: RowMapping | None) -> NameUse:
    """Return the use of a till's name by the row of its current epoch."""
    if current is None:
        return NameUse()
    return NameUse(*(current[name] for name in _COLUMNS))


def speaker_of(heartbeat: Heartbeat) -> Speaker:
    """Return the sender of a heartbeat."""
    return Speaker(heartbeat.boot_id, heartbeat.epoch, heartbeat.run_id or "")


_COLUMNS = tuple(asdict(NameUse()))
