"""Damaged events: logged once each, and told from a damaged file, which is quarantined whole.

SQLite reads a page of another table without an error, as rows without content. Sent as damaged,
they would be given up, though salvage finds all of them.
"""

import logging
import sqlite3

from agent.facts import Receipt
from agent.store.files.storage_errors import StorageDamagedError
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_MAX_LOGGED = 1_000
_CHECK = "PRAGMA quick_check(1)"
# So begin the findings about pages; others are about values in a row.
_ABOUT_PAGES = "*** in database"


class StructureCheck:
    """Checks the pages when damaged rows are found: at the first, and at twice as many each time.

    A check reads the whole file.
    """

    def __init__(self) -> None:
        self._found = 0
        self._check_at = 1

    def require_sound(self, connection: sqlite3.Connection, damaged: int) -> None:
        """Raise `StorageDamagedError` if pages are damaged; `damaged` more rows were found."""
        self._found += damaged
        if self._found < self._check_at:
            return
        (finding,) = connection.execute(_CHECK).fetchone()
        if str(finding).startswith(_ABOUT_PAGES):
            raise StorageDamagedError("pages of the database are damaged or exchanged")
        self._check_at = 2 * self._found


class DamageLog:
    """Logs each damaged event once."""

    def __init__(self) -> None:
        self._logged: set[Receipt] = set()

    def add(self, receipt: Receipt, fault: str) -> None:
        """Log a damaged event, unless it is known or very many are."""
        if receipt not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(receipt)
            log_event(_log, logging.ERROR, "event.damaged", receipt=str(receipt), reason=fault)
