"""Two machines under one store and till id, as after a disk was cloned. Pure, no I/O.

A speaker is a boot of a machine with an epoch of its database. A machine goes on from one speaker
to the next and never back: a reboot has a new boot id, also after an image was put back. So a
speaker that comes back after another one was heard is a second machine, unless its message was
late: sent before the other one was last heard. An older database can be put back within a boot; so
it takes `MIN_RETURNS` within `FORGOTTEN_AFTER` to tell.

The columns are of the till, and stand in the row of its current epoch.
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import RowMapping

from sync.receiver.ingest.rows import Row

MIN_RETURNS = 3
FORGOTTEN_AFTER = timedelta(days=1)
_CLOCKS_APART = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class NameUse:
    """The last speaker under the name of a till, how often one came back, and when last."""

    speaker: str | None = None
    speaker_returns: int | None = None
    speaker_returned_at: datetime | None = None

    def is_shared(self, now: datetime) -> bool:
        """Return whether two machines have been heard of late."""
        return (self.speaker_returns or 0) >= MIN_RETURNS and not self._is_over(now)

    def after(self, speaker: str, now: datetime, *, is_return: bool) -> "NameUse":
        """Return the use of the name after another speaker was heard."""
        if not is_return:
            return replace(self, speaker=speaker)
        returns = 1 if self._is_over(now) else (self.speaker_returns or 0) + 1
        return NameUse(speaker, returns, now)

    def row(self) -> Row:
        """Return the columns."""
        return asdict(self)

    def _is_over(self, now: datetime) -> bool:
        at = self.speaker_returned_at
        # A time to come is one of a clock of our own that was ahead.
        return at is None or not -_CLOCKS_APART <= now - at <= FORGOTTEN_AFTER


def name_use_of(current: RowMapping | None) -> NameUse:
    """Return the use of a till's name by the row of its current epoch."""
    if current is None:
        return NameUse()
    names = ("speaker", "speaker_returns", "speaker_returned_at")
    return NameUse(*(current[name] for name in names))


def speaker_of(epoch: str, boot_id: str) -> str:
    """Return the name of a speaker."""
    return f"{boot_id} {epoch}"
