"""Logs uncaught exceptions: one log line each instead of a multi-line traceback."""

import logging
import sys
import threading
from types import TracebackType

from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)


def log_what_nobody_catches() -> None:
    """Install hooks that log uncaught exceptions of all threads and finalizers."""
    sys.excepthook = _ended
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_ended


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        log_event(_log, logging.INFO, "process.interrupted")
        return
    _log.critical("process.failed", exc_info=(kind, error, trace))


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None:
        return
    found = (ended.exc_type, ended.exc_value, ended.exc_traceback)
    _log.critical("thread.failed", exc_info=found)


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    if ignored.exc_value is None:
        return
    found = (ignored.exc_type, ignored.exc_value, ignored.exc_traceback)
    _log.error("exception.ignored", exc_info=found)
