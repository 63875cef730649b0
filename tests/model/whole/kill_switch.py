"""Kills an agent at a chosen point: its files are copied there, and nothing later counts."""

import sqlite3
from collections.abc import Callable

_COUNTED = ("COMMIT", "INSERT INTO capture")


class KillSwitch:
    """Counts the points at which the running agent can be killed.

    Points: before each commit, before and after each write of the high-water mark, before each
    request and after each answer. One history at a time.
    """

    def __init__(self) -> None:
        self._points_left: int | None = None
        self._on_kill: Callable[[], None] = lambda: None

    def arm(self, points: int, on_kill: Callable[[], None]) -> None:
        """Call `on_kill` once, after `points` further points."""
        self._points_left, self._on_kill = points, on_kill

    def disarm(self) -> bool:
        """Return whether the point was never reached; count no more."""
        was_armed, self._points_left = self._points_left is not None, None
        return was_armed

    def point(self) -> None:
        """Count a point at which the machine may stop."""
        if self._points_left is None:
            return
        self._points_left -= 1
        if self._points_left < 0:
            self._points_left = None
            self._on_kill()

    def on_statement(self, sql: str) -> None:
        """Count the statements that commit; called by SQLite before each one runs."""
        if sql.startswith(_COUNTED):
            self.point()

    def watch(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Count the commits of `connection`."""
        connection.set_trace_callback(self.on_statement)
        return connection


SWITCH = KillSwitch()
