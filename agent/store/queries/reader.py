"""Queries of the store on short-lived read-only connections."""

import sqlite3
from pathlib import Path

from agent.store.db.connect import read_only
from agent.store.db.rows import undecoded_text
from agent.store.queries.capture_status import CaptureStatus, read_captures, read_newest
from agent.store.queries.day import Day, read_day
from agent.store.queries.status import StorageStatus, read_status


class StoreReader:
    """Queries the store of a directory. Blocking: call it off the event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def session(self, correlation_id: str) -> list[CaptureStatus]:
        """Return a session start and its answers, in order; empty if there is none."""
        with read_only(self._directory) as connection, undecoded_text(connection):
            return read_captures(connection, correlation_id)

    def newest(self, limit: int) -> list[CaptureStatus]:
        """Return the newest captures, the newest first."""
        with read_only(self._directory) as connection, undecoded_text(connection):
            return read_newest(connection, limit)

    def day(self, now_us: int) -> Day:
        """Return the last 24 hours; the cost is bounded."""
        with read_only(self._directory) as connection:
            return read_day(connection, now_us)

    def status(self) -> StorageStatus:
        """Return backlog and sizes; the cost does not depend on the backlog."""
        with read_only(self._directory) as connection:
            return self.status_on(connection)

    def status_on(self, connection: sqlite3.Connection) -> StorageStatus:
        """Return backlog and sizes, as read on `connection`."""
        return read_status(connection, self._directory)
