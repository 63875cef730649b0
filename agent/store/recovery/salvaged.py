"""Captures found in a quarantined database, read from its scratch file in order."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from agent.facts import EmailStatus, Receipt
from agent.store.db.epochs import Epochs, EpochStart
from agent.store.db.event_rows import DamagedEvent, check_event
from agent.store.db.rows import checked_rows
from agent.store.files.quarantine import SCRATCH_FILE
from agent.store.files.storage_errors import CorruptRow
from agent.store.recovery.salvage_scratch import VERSION, Progress, read_progress, version_of
from sync.protocol.wire import EventType

_AFTER = """
SELECT event.position, event.type, session.position, session.correlation_id, session.query_locale,
    session.closed, event.wall_us, event.monotonic_us, event.boot_number, boot.boot_id,
    event.body, answer.status, answer.address, answer.address_mark, alias.epoch, alias.sequence,
    event.checksum
FROM todo JOIN event USING (position) JOIN session ON session.position = event.session_position
LEFT JOIN boot ON boot.number = event.boot_number
LEFT JOIN answer ON answer.position = event.position
LEFT JOIN alias ON alias.position = event.position
WHERE event.position > ? ORDER BY event.position LIMIT ?
"""
_EPOCHS = """
SELECT epoch, base_position, reason, moved_events FROM epoch ORDER BY base_position, number
"""


class SalvagedCapture(NamedTuple):
    """A capture by its columns; `position` and `session_position` are those of its own file."""

    position: int
    type: EventType
    session_position: int
    correlation_id: str
    query_locale: str | None
    closed: int
    occurred_at_us: int
    monotonic_us: int
    boot_number: int
    boot_id: str | None
    body: bytes
    status: EmailStatus | None
    address: bytes | None
    address_mark: bytes | None
    alias_epoch: str | None
    alias_sequence: int | None
    checksum: int | None

    @property
    def is_altered(self) -> bool:
        """Return whether the checksum does not match the content."""
        boot = (self.boot_number, self.boot_id)
        times = (self.occurred_at_us, self.monotonic_us)
        head = (self.position, self.type, self.session_position, self.correlation_id)
        answer = (self.status, self.address)
        row = (*head, *times, *boot, self.body, self.query_locale, *answer, self.checksum)
        return isinstance(check_event(row), DamagedEvent)

    def number(self, epochs: Epochs | None) -> Receipt | None:
        """Return its number in its own file; None if its epoch is unreadable."""
        return number_at(epochs, self.position) if epochs else None

    def receipt(self, epochs: Epochs | None) -> Receipt | None:
        """Return the first receipt; None if its epoch is unreadable. `epochs`: of its own file."""
        if self.alias_epoch is not None and self.alias_sequence is not None:
            return Receipt(self.alias_epoch, self.alias_sequence)
        return self.number(epochs)


def read_captures(place: Path, after: int, limit: int) -> list[SalvagedCapture]:
    """Return the next captures above position `after`. Raises `sqlite3.Error`."""
    with reading_scratch(place) as connection:
        return list(checked_rows(connection.execute(_AFTER, (after, limit)), SalvagedCapture))


def read_source_epochs(place: Path) -> Epochs | None:
    """Return the epochs of the quarantined database; None if none is readable."""
    with reading_scratch(place) as connection:
        starts = list(checked_rows(connection.execute(_EPOCHS), EpochStart))
    return Epochs(starts, 0) if starts else None


def number_at(epochs: Epochs, position: int) -> Receipt | None:
    """Return the number at a position; None if its epoch is unreadable."""
    try:
        return epochs.receipt(position)
    except CorruptRow:
        return None


def is_extracted(place: Path) -> bool:
    """Return whether the scratch file is complete; one that is unusable is begun again."""
    try:
        if not (place / SCRATCH_FILE).exists():
            return False
        with reading_scratch(place) as connection:
            is_usable = version_of(connection) == VERSION
            return is_usable and bool(read_progress(connection).is_complete)
    except sqlite3.Error:
        return False


def is_whole(place: Path) -> bool:
    """Return whether the scratch file says that nothing is missing; False if it is lost."""
    try:
        return (place / SCRATCH_FILE).exists() and bool(read_result(place).is_whole)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return False


def read_result(place: Path) -> Progress:
    """Return the progress of the extraction, at its end. Raises `sqlite3.Error`."""
    with reading_scratch(place) as connection:
        return read_progress(connection)


@contextmanager
def reading_scratch(place: Path) -> Iterator[sqlite3.Connection]:
    """Open the scratch file; delete it if it is damaged, so that it is extracted again."""
    path = (place / SCRATCH_FILE).absolute()
    address = f"{path.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            yield connection
    except sqlite3.OperationalError:
        raise  # no room, the disk fails, or the process that wrote it was killed
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
        raise
