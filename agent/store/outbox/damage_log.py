"""Logs each damaged event once."""

import logging

from agent.facts import Receipt
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_MAX_LOGGED = 1_000


class DamageLog:
    """Logs each damaged event once."""

    def __init__(self) -> None:
        self._logged: set[Receipt] = set()

    def add(self, receipt: Receipt, fault: str) -> None:
        """Log a damaged event, unless it is known or very many are."""
        if receipt not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(receipt)
            log_event(_log, logging.ERROR, "event.damaged", receipt=str(receipt), reason=fault)
