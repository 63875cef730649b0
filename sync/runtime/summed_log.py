"""Rate-limited log lines: the first at once, then one a minute with the sums."""

import asyncio
import logging
from collections import Counter
from collections.abc import Hashable, Mapping

from sync.runtime.logging import log_event

SECONDS = 60.0


class SummedLog:
    """Sums the counts of one log event. Not thread-safe; event loop only."""

    def __init__(self, logger: logging.Logger, event: str, level: int = logging.WARNING) -> None:
        self._logger = logger
        self._event = event
        self._level = level
        self._sums: Counter[str] = Counter()
        self._fields: dict[str, object] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_active(self) -> bool:
        """True until a minute has passed without a count."""
        return self._timer is not None

    def count(self, *, fields: dict[str, object], **counts: int) -> None:
        """Add `counts` to the sums; log them with `fields` at once if the last line is old."""
        self._sums.update(counts)
        self._fields = fields
        if self._timer is None:
            self._log()

    def close(self) -> None:
        """Log the sums that are left. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._sums:
                self._write()

    def _log(self) -> None:
        self._timer = None
        if self._sums:
            self._write()
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._log)

    def _write(self) -> None:
        log_event(self._logger, self._level, self._event, **self._sums, **self._fields)
        self._sums.clear()


class SummedLogs:
    """One `SummedLog` for each key; beyond some keys in a minute, others share one for each `kind`.

    Memory and lines are bounded if the caller bounds the kinds. Not thread-safe; event loop only.
    """

    def __init__(
        self,
        logger: logging.Logger,
        event: str,
        level: int = logging.WARNING,
        *,
        most_keys: int = 64,
    ) -> None:
        self._logger, self._event, self._level = logger, event, level
        self._most_keys = most_keys
        self._logs: dict[Hashable, SummedLog] = {}
        self._others: dict[Hashable, SummedLog] = {}

    def count(
        self,
        key: Hashable,
        *,
        fields: Mapping[str, object],
        of_others: Mapping[str, object],
        kind: Hashable = None,
        **counts: int,
    ) -> None:
        """Add `counts` to the sums of `key`; `of_others` replace its fields on a shared line."""
        log = self._log_of(key)
        if log is None:
            log = self._others.setdefault(kind, self._new())
            fields = {**fields, **of_others}
        log.count(fields=dict(fields), **counts)

    def close(self) -> None:
        """Log the sums that are left. Idempotent."""
        for log in (*self._logs.values(), *self._others.values()):
            log.close()

    def _log_of(self, key: Hashable) -> SummedLog | None:
        if key not in self._logs and len(self._logs) >= self._most_keys:
            self._logs = {key: log for key, log in self._logs.items() if log.is_active}
        if key not in self._logs and len(self._logs) >= self._most_keys:
            return None
        return self._logs.setdefault(key, self._new())

    def _new(self) -> SummedLog:
        return SummedLog(self._logger, self._event, self._level)


class LineBudget:
    """Allows a number of log lines a minute. Not thread-safe; event loop only."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._left = lines
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> bool:
        """Return whether one more line may be logged in this minute, and count it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS, self._renew)
        self._left -= 1
        return self._left >= 0

    def close(self) -> None:
        """Forget the minute. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._renew()

    def _renew(self) -> None:
        self._left, self._timer = self._lines, None
