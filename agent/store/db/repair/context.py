"""A repair in progress: its connection, mark and time, and the list of damaged rows."""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from agent.facts import Receipt
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
ADD_DAMAGED = """
INSERT INTO damaged_row (table_name, row_key, reason, found_at_us) VALUES (?, ?, ?, ?)
ON CONFLICT (table_name, row_key) DO UPDATE SET reason = excluded.reason
"""


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair on the writer's connection, in its transaction."""

    connection: sqlite3.Connection
    mark: Receipt | None
    new_epoch: Callable[[], str]
    at_us: int

    def note(self, table: str, key: str, reason: str) -> None:
        """List a damaged row, and log it."""
        self.connection.execute(ADD_DAMAGED, (table, key, reason, self.at_us))
        log_event(_log, logging.ERROR, "store.row_damaged", table=table, row=key, reason=reason)
