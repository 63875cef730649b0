"""Logging of both programs: one line per event, as text or JSON.

Under systemd each line starts with its priority (sd-daemon(3)) and is below journald's line
limit (`LineMax=` in journald.conf(5), 48 KiB).

Never pass an address or a token to a log call. If one gets in anyway (in the message of a
library's exception, for example), it is masked. Masking is a safety net only: it recognizes
the usual forms of addresses and tokens.
"""

import json
import logging
import math
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import TextIO, TypeAlias

from sync.protocol.rfc3339 import us_to_rfc3339
from sync.runtime.log_writer import LogWriter
from sync.runtime.masking import mask_secrets

_log = logging.getLogger(__name__)
Scalar: TypeAlias = str | int | float | bool | None

_FIELDS = "fields"
_OWN_LOGGERS = ("agent", "sync")
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
_UNQUOTED = re.compile(r"[A-Za-z0-9_.:/+@%-]+")
_NOT_IN_A_FIELD_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_SECRET_FIELDS = frozenset({"authorization", "password", "secret", "token"})
_MAX_NAME = 64
# Limits for the length of a value, tried in this order until the line is short enough.
_VALUE_LIMITS = (8_192, 1_024, 64)
_MAX_VALUE = _VALUE_LIMITS[0]
MAX_LINE_BYTES = 40_000
_MAX_FIELDS = 32
_CUT = "[cut]"
# Priority prefixes that journald reads (sd-daemon(3), values from syslog(3)).
_PRIORITIES = {
    logging.CRITICAL: "<2>",
    logging.ERROR: "<3>",
    logging.WARNING: "<4>",
    logging.INFO: "<6>",
}
_DEBUG_PRIORITY = "<7>"


def log_event(logger: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Log `event`, such as `store.opened`, with ids and counts as fields.

    In an `except` block pass the exception as `error=`; `logger.exception(event)` adds the
    traceback.
    """
    logger.log(level, event, extra={_FIELDS: fields}, stacklevel=2)


def configure_logging(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Log to standard error from `level` up; `format` is text or json.

    Libraries are logged from `warning` up at any `level`: their lower levels are noise. A
    second call replaces the configuration of the first. To a `stream` lines are written at once,
    else by a thread of their own.
    """
    handler = LogWriter(sys.stderr.fileno()) if stream is None else logging.StreamHandler(stream)
    kind = JsonFormatter if format == "json" else TextFormatter
    handler.setFormatter(kind(with_priority=is_journal(stream or sys.stderr, os.environ)))
    root = logging.getLogger()
    for earlier in [h for h in root.handlers if isinstance(h.formatter, LineFormatter)]:
        root.removeHandler(earlier)
        earlier.flush()
        earlier.close()
    root.addHandler(handler)
    own_level = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(own_level, logging.WARNING))
    for name in _OWN_LOGGERS:
        logging.getLogger(name).setLevel(own_level)
    logging.captureWarnings(capture=True)


def dropped_lines() -> int:
    """Return the number of log lines dropped because the log was not read."""
    writers = (one for one in logging.getLogger().handlers if isinstance(one, LogWriter))
    return sum(one.dropped_total for one in writers)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether `stream` is connected to journald (`$JOURNAL_STREAM`, systemd.exec(5))."""
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}"


class LineFormatter(logging.Formatter):
    """Formats any log record, a library's too, as one line without control characters."""

    def __init__(self, *, with_priority: bool = False) -> None:
        super().__init__()
        self._with_priority = with_priority

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = self._short_line(record)
        return _priority(record.levelno) + line if self._with_priority else line

    def _short_line(self, record: logging.LogRecord) -> str:
        head = {
            "time": us_to_rfc3339(round(record.created * 1e6), "milliseconds"),
            "level": record.levelname,
            "event": _scalar(_event_of(record)),
        }
        fields: dict[str, Scalar] = {}
        for name, value in islice(self._fields_of(record), _MAX_FIELDS):
            safe_name = _NOT_IN_A_FIELD_NAME.sub("_", mask_secrets(name))[:_MAX_NAME] or "_"
            is_secret = safe_name.lower() in _SECRET_FIELDS
            scalar = "[secret]" if is_secret else _scalar(value)
            fields[f"{safe_name}_" if safe_name in head else safe_name] = scalar
        for limit in _VALUE_LIMITS:
            truncated = [
                {n: _truncate(v, limit) for n, v in part.items()} for part in (head, fields)
            ]
            line = self._line(*truncated)
            if len(line) <= MAX_LINE_BYTES:
                break
        return line

    def _fields_of(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        fields = getattr(record, _FIELDS, None)
        if isinstance(fields, Mapping):
            yield from ((str(name), value) for name, value in fields.items())
        if not _is_event(record):
            yield "message", _message_of(record)
        if record.exc_info and record.exc_info[0]:
            yield "exception", self.formatException(record.exc_info)
        if record.stack_info:
            yield "stack", record.stack_info

    def _line(self, head: Mapping[str, Scalar], fields: Mapping[str, Scalar]) -> str:
        raise NotImplementedError


class TextFormatter(LineFormatter):
    """`TIME LEVEL event name=value ...`; values are quoted as in JSON where necessary."""

    def _line(self, head: Mapping[str, Scalar], fields: Mapping[str, Scalar]) -> str:
        named = [f"{name}={_quoted(value)}" for name, value in fields.items()]
        return " ".join([*(_quoted(value) for value in head.values()), *named])


class JsonFormatter(LineFormatter):
    """One JSON object: `time`, `level`, `event`, then the fields."""

    def _line(self, head: Mapping[str, Scalar], fields: Mapping[str, Scalar]) -> str:
        return json.dumps({**head, **fields})


def _is_event(record: logging.LogRecord) -> bool:
    """Return whether the message is an event name of this program, not a library's text."""
    return hasattr(record, _FIELDS) or bool(_EVENT_NAME.fullmatch(_message_of(record)))


def _event_of(record: logging.LogRecord) -> str:
    return _message_of(record) if _is_event(record) else record.name


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # The message's arguments do not match its format: log the format string.
        return str(record.msg)


def _scalar(value: object) -> Scalar:
    """Convert to a JSON value; strings are masked and truncated."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    # Mask before truncating, or half an address could remain. The first slice bounds the work.
    return _truncate(mask_secrets(text[: 2 * _MAX_VALUE]), _MAX_VALUE)


def _truncate(value: Scalar, limit: int) -> Scalar:
    if not isinstance(value, str) or len(value) <= limit + len(_CUT):
        return value
    return value[:limit] + _CUT


def _priority(level: int) -> str:
    found = (prefix for least, prefix in _PRIORITIES.items() if level >= least)
    return next(found, _DEBUG_PRIORITY)


def _quoted(value: Scalar) -> str:
    if isinstance(value, str) and _UNQUOTED.fullmatch(value):
        return value
    # ASCII only: no line separator or bidi control character can forge another line.
    return json.dumps(value)


def log_uncaught_exceptions() -> None:
    """Install hooks that log uncaught exceptions of all threads and finalizers."""
    sys.excepthook = _log_failure
    sys.unraisablehook = _log_ignored
    threading.excepthook = _log_thread_failure


def _log_failure(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        log_event(_log, logging.INFO, "process.interrupted")
        return
    _log.critical("process.failed", exc_info=(kind, error, trace))


def _log_thread_failure(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is None:
        return
    found = (ended.exc_type, ended.exc_value, ended.exc_traceback)
    _log.critical("thread.failed", exc_info=found)


def _log_ignored(ignored: "sys.UnraisableHookArgs") -> None:
    if ignored.exc_value is None:
        return
    found = (ignored.exc_type, ignored.exc_value, ignored.exc_traceback)
    _log.error("exception.ignored", exc_info=found)
