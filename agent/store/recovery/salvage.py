"""Salvages quarantined databases in the background: extract, feed in, wait for delivery, delete.

Each step can be repeated after a kill: the scratch file records how far the pages are read, a row
of the live database how far the captures are fed in. A live database that is itself quarantined
takes that row with it, and everything that is not delivered is fed into the next one.
"""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from agent.store.access import StoreAccess
from agent.store.db.cursor import read_cursor
from agent.store.db.epochs import Epochs, read_epochs
from agent.store.db.rows import checked
from agent.store.files.high_water_mark import read_high_water_mark
from agent.store.files.quarantine import (
    DELIVERED_FILE,
    QUARANTINE,
    SCRATCH_FILE,
    list_quarantined,
    list_unfinished,
    remove_abandoned,
)
from agent.store.files.storage_errors import free_bytes
from agent.store.recovery.ended_epochs import EndedEpochs, add_ended, read_ended_epochs
from agent.store.recovery.feed import CAPTURES_PER_STEP, feed
from agent.store.recovery.last_epochs import name_marks, read_marks, restore_mark, unnamed_marks
from agent.store.recovery.process import (
    Erase,
    Extract,
    ExtractionError,
    erase_in_process,
    extract_in_process,
)
from agent.store.recovery.salvaged import (
    is_extracted,
    is_whole,
    read_captures,
    read_result,
    read_source_epochs,
)
from sync.delivery.outbox import OutboxUnavailable
from sync.runtime.files.atomic_file import atomic_file
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
POLL_SECONDS = 2
# After each failure twice as long.
_RETRY_SECONDS, _MAX_RETRY_SECONDS = 2.0, 300.0
_STATE = "SELECT fed_through, last_position, is_read, unreadable FROM salvage WHERE source = ?"
_END = """
INSERT INTO salvage (source, fed_through, last_position, salvaged, unreadable, is_read)
VALUES (?, 0, 0, 0, ?, 1)
ON CONFLICT DO UPDATE SET unreadable = unreadable + excluded.unreadable, is_read = 1
RETURNING salvaged, unreadable
"""


class _State(NamedTuple):
    fed_through: int = 0
    last_position: int = 0
    is_read: int = 0
    unreadable: int = 0


class Salvage:
    """Salvages the quarantined databases of a storage directory. Event loop only."""

    def __init__(
        self,
        access: StoreAccess,
        directory: Path,
        min_free_bytes: int,
        extract: Extract = extract_in_process,
        erase: Erase = erase_in_process,
    ) -> None:
        self._access = access
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._extract = extract
        self._erase = erase
        self._due = asyncio.Event()
        self._failures: Counter[str] = Counter()
        self._retry_at: dict[str, float] = {}
        self._looked_at: set[str] = set()

    async def trigger(self) -> None:
        """Look for quarantined databases soon; a run in progress completes first."""
        self._due.set()

    async def run(self, on_salvaged: Callable[[], None]) -> NoReturn:
        """Salvage each time it is triggered, until cancelled; call `on_salvaged` after a file."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                if await self.run_once():
                    on_salvaged()
            except Exception:  # noqa: BLE001 - a bug here must not end the salvage of other files
                _log.exception("salvage.failed")

    async def run_once(self) -> bool:
        """Salvage all that is in quarantine now; return whether a file was read to its end."""
        has_read = False
        with contextlib.suppress(OSError):
            await asyncio.to_thread(remove_abandoned, self._directory, time.time())
        await self._name_marks()
        for source in await asyncio.to_thread(list_unfinished, self._directory):
            if time.monotonic() < self._retry_at.get(source, 0):
                continue
            try:
                has_read |= await self._salvage(source)
            except OutboxUnavailable:
                break  # the storage is down, or not open yet: next time
            except (ExtractionError, sqlite3.Error, OSError) as error:
                self._postpone(source, str(error) or type(error).__name__)
            else:
                del self._failures[source]
        return has_read

    async def _name_marks(self) -> None:
        """Record the last epochs of files that an earlier version set aside; once a process."""
        names = await asyncio.to_thread(list_quarantined, self._directory)
        new = [name for name in names if name not in self._looked_at]
        try:
            marks = await asyncio.to_thread(read_marks, self._directory, new) if new else []
            if marks and (unnamed := await self._access.read_hot(unnamed_marks, marks)):
                await self._access.write_hot(name_marks, unnamed)
        except (OutboxUnavailable, OSError):
            return  # next time
        self._looked_at.update(new)

    def _postpone(self, source: str, reason: str) -> None:
        """Try again later, at most `_MAX_RETRY_SECONDS`; log the first failure."""
        wait_seconds = min(_RETRY_SECONDS * 2 ** self._failures[source], _MAX_RETRY_SECONDS)
        self._retry_at[source] = time.monotonic() + wait_seconds
        self._failures[source] = min(self._failures[source] + 1, 10)
        if self._failures[source] == 1:
            log_event(_log, logging.WARNING, "salvage.postponed", source=source, reason=reason)

    async def _salvage(self, source: str) -> bool:
        place = self._directory / QUARANTINE / source
        state = await self._access.read_hot(_read_state, source)
        was_read = bool(state.is_read)
        if not was_read:
            if not await asyncio.to_thread(is_extracted, place):
                await self._extract_all(place)
            await self._feed(place, state.fed_through)
            state = await self._access.read_hot(_read_state, source)
        await self._finish(place, state)
        return not was_read

    async def _extract_all(self, place: Path) -> None:
        needed = self._min_free_bytes + await asyncio.to_thread(_size_of, place)
        if free_bytes(self._directory) < needed:
            raise ExtractionError("there is not enough free disk space")
        await self._access.read_hot(restore_mark, place)
        await self._extract(place, await self._access.read_hot(_mark_position, place))

    async def _feed(self, place: Path, after: int) -> None:
        """Feed in the captures above `after`; pause half of the time for the tills."""
        source = place.name
        # Not with the reads of the live database: damage found there would set that aside.
        epochs = await asyncio.to_thread(read_source_epochs, place)
        ended = None
        if epochs is not None:
            ended = await asyncio.to_thread(read_ended_epochs, place, epochs)
        else:
            epochs = await self._access.read_hot(_live_epochs_of, place)
        while captures := await asyncio.to_thread(read_captures, place, after, CAPTURES_PER_STEP):
            started = time.perf_counter()
            fed = await self._access.run(feed, source, captures, epochs)
            if fed.conflicts:
                log_event(
                    _log, logging.ERROR, "salvage.conflict", source=source, captures=fed.conflicts
                )
            after = captures[-1].position
            await asyncio.sleep(time.perf_counter() - started)
        unreadable = (await asyncio.to_thread(read_result, place)).unreadable
        salvaged, lost = await self._access.write_hot(_end, source, unreadable, ended)
        level = logging.ERROR if lost else logging.WARNING
        log_event(_log, level, "salvage.read", source=source, salvaged=salvaged, unreadable=lost)

    async def _finish(self, place: Path, state: _State) -> None:
        """Delete the files once all salvaged captures are settled; keep unreadable ones.

        A file that stays keeps no address of a delivered answer.
        """
        cursor = await self._access.read_hot(read_cursor)
        if cursor.watermark < state.last_position:
            return
        if not state.unreadable and await asyncio.to_thread(is_whole, place):
            await asyncio.to_thread(_delete, place)
            log_event(_log, logging.INFO, "salvage.deleted", source=place.name)
            return
        await self._erase(place)
        await asyncio.to_thread(_keep, place, state.unreadable)
        log_event(_log, logging.INFO, "salvage.kept", source=place.name)


def _read_state(connection: sqlite3.Connection, source: str) -> _State:
    row = connection.execute(_STATE, (source,)).fetchone()
    return _State() if row is None else checked(row, _State)


def _end(
    connection: sqlite3.Connection, source: str, unreadable: int, ended: EndedEpochs | None
) -> tuple[int, int]:
    row = connection.execute(_END, (source, unreadable)).fetchone()
    if ended is not None:
        add_ended(connection, ended)
    return checked(row, tuple[int, int])


def _live_epochs_of(connection: sqlite3.Connection, place: Path) -> Epochs | None:
    """Return the epochs that this database has of the time of the file in `place`."""
    mark = read_high_water_mark(place)
    live = read_epochs(connection)
    return None if mark is None else live.up_to(mark.epoch)


def _mark_position(connection: sqlite3.Connection, place: Path) -> int:
    """Return the position of the last commit that the mark in `place` recorded; 0 if unknown."""
    mark = read_high_water_mark(place)
    known = None if mark is None else read_epochs(connection).range_of(mark.epoch)
    return 0 if known is None or mark is None else known.base_position + mark.sequence


def _size_of(place: Path) -> int:
    return sum(file.stat().st_size for file in place.iterdir() if file.is_file())


def _keep(place: Path, unreadable: int) -> None:
    with atomic_file(place / DELIVERED_FILE) as delivered:
        delivered.write(f"{unreadable}\n".encode())
    (place / SCRATCH_FILE).unlink(missing_ok=True)


def _delete(place: Path) -> None:
    """Delete the files in `place`, the scratch file last."""
    for file in place.iterdir():
        if file.name != SCRATCH_FILE:
            file.unlink()
    shutil.rmtree(place)
