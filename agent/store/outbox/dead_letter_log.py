"""Log of events that central refused for good, or that got stuck: never in silence."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from agent.facts import Receipt
from agent.store.db.tables import STUCK_ATTEMPTS
from sync.delivery.outbox import EventResult, Window
from sync.delivery.outcomes import Deferred, Delivered, Refused, Verdict
from sync.runtime.masking import mask_secrets
from sync.runtime.printable import printable
from sync.runtime.summed_log import SummedLogs

_log = logging.getLogger(__name__)
# Central chooses its codes, and the API allows any text.
_MOST_CODES = 8
_MAX_CODE = 60
_OTHERS = "others"
# Code and HTTP status.
_Key: TypeAlias = tuple[str, int | None]


class DeadLetterLog:
    """A warning for each code: the first at once, then one line a minute with the number.

    The message of central is not logged: it can quote the event, and so an address.
    """

    def __init__(self) -> None:
        self._logs = SummedLogs(_log, "dead_letter.recorded", most_keys=_MOST_CODES)
        self._stuck = SummedLogs(_log, "event.stuck", most_keys=_MOST_CODES)

    def note(self, window: Window, results: Sequence[EventResult]) -> None:
        """Log or count the refused events among `results`, and those that are stuck from now on."""
        refused = [one for one in results if isinstance(one.verdict, Refused)]
        stuck = [one for one in results if _becomes_stuck(one)]
        for logs, found in ((self._logs, refused), (self._stuck, stuck)):
            counts: Counter[_Key] = Counter()
            last: dict[_Key, Receipt] = {}
            for one in found:
                key = _key(one.verdict)
                counts[key] += 1
                last[key] = Receipt(window.epoch, one.event.sequence)
            for key, events in counts.items():
                code, http_status = key
                fields = {"code": code, "http_status": http_status, "last": str(last[key])}
                logs.count(key, fields=fields, of_others={"code": _OTHERS}, events=events)

    def close(self) -> None:
        """Log the numbers that are left. Idempotent."""
        self._logs.close()
        self._stuck.close()


def _becomes_stuck(result: EventResult) -> bool:
    verdict, event = result.verdict, result.event
    is_try = isinstance(verdict, Deferred) and not verdict.is_waiting
    return is_try and event.refusal is None and event.attempts + 1 == STUCK_ATTEMPTS


def _key(verdict: Verdict) -> _Key:
    """Return code and HTTP status of a verdict, harmless in a log."""
    assert not isinstance(verdict, Delivered)  # noqa: S101 - for the types
    # Masked before it is cut, or half an address could remain.
    return printable(mask_secrets(verdict.error_code), _MAX_CODE), verdict.http_status
