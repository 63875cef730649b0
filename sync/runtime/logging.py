"""How both programs write their log: one line for one thing that happened, as text or JSON.

Under systemd each line begins with its priority, as `sd-daemon(3)` has it, and is short enough
for journald to keep it whole (`LineMax=` in journald.conf(5), 48 KiB).

Addresses and tokens never belong in a log call. Should one get into it all the same (in the
message of a library's exception, say), it is masked. That is a net and not the rule: it knows
an address and a token only by their usual looks.
"""

import json
import logging
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TextIO, TypeAlias

from sync.protocol.email_masking import without_addresses

Plain: TypeAlias = str | int | float | bool | None

_FIELDS = "fields"
_OUR_LOGGERS = ("agent", "sync")
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
_BARE = re.compile(r"[A-Za-z0-9_.:/+@%-]+")
_NOT_IN_A_FIELD_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
# The proof of identity in a header, as RFC 9110 (11.6.2) has it: scheme and credentials.
_TOKEN = re.compile(r"(?i)\b(Bearer|Basic)(?:\s|%20|\\u0020)+[^\s\"',;\\]+")
_SECRET_FIELDS = frozenset({"authorization", "password", "secret", "token"})
_LONGEST_NAME = 64
# The longest values of a line; shorter ones are tried until the line is short enough.
_LONGEST_VALUES = (8_192, 1_024, 64)
_LONGEST_VALUE = _LONGEST_VALUES[0]
LONGEST_LINE_BYTES = 40_000
_MOST_FIELDS = 32
_CUT = "[cut]"
# sd-daemon(3), from syslog(3): what journald makes of a line's first three characters.
_PRIORITIES = {
    logging.CRITICAL: "<2>",
    logging.ERROR: "<3>",
    logging.WARNING: "<4>",
    logging.INFO: "<6>",
}
_DEBUG_PRIORITY = "<7>"


def log_event(logger: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Log `event`, such as `store.opened`, with ids and counts as its fields.

    Inside an `except` block give the exception as `error=`; `logger.exception(event)` adds
    the traceback.
    """
    logger.log(level, event, extra={_FIELDS: fields}, stacklevel=2)


def configure_logging(level: str, format: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Send the log to `stream` (None: standard error) from `level` up; `format`: text or json.

    Libraries are heard from `warning` up, whatever the level: what they say below that is
    not about captures. Calling it again replaces what was before.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    kind = JsonFormatter if format == "json" else TextFormatter
    handler.setFormatter(kind(with_priority=is_journal(handler.stream, os.environ)))
    root = logging.getLogger()
    for earlier in [h for h in root.handlers if isinstance(h.formatter, LineFormatter)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    own_level = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(own_level, logging.WARNING))
    for name in _OUR_LOGGERS:
        logging.getLogger(name).setLevel(own_level)
    logging.captureWarnings(capture=True)


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether `stream` goes to journald (`$JOURNAL_STREAM` in systemd.exec(5))."""
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}"


class LineFormatter(logging.Formatter):
    """Makes any log record, a library's too, one line without line ends or control characters."""

    def __init__(self, *, with_priority: bool = False) -> None:
        super().__init__()
        self._with_priority = with_priority

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = self._short_line(record)
        return _priority(record.levelno) + line if self._with_priority else line

    def _short_line(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        head = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "event": _plain(_event_of(record)),
        }
        fields: dict[str, Plain] = {}
        for name, value in islice(self._fields_of(record), _MOST_FIELDS):
            safe_name = _NOT_IN_A_FIELD_NAME.sub("_", masked(name))[:_LONGEST_NAME] or "_"
            is_secret = safe_name.lower() in _SECRET_FIELDS
            plain = "[secret]" if is_secret else _plain(value)
            fields[f"{safe_name}_" if safe_name in head else safe_name] = plain
        for longest in _LONGEST_VALUES:
            shown = [{n: _cut(v, longest) for n, v in part.items()} for part in (head, fields)]
            line = self._line(*shown)
            if len(line) <= LONGEST_LINE_BYTES:
                break
        return line

    def _fields_of(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        fields = getattr(record, _FIELDS, None)
        if isinstance(fields, Mapping):
            yield from ((str(name), value) for name, value in fields.items())
        if not _is_ours(record):
            yield "message", _message_of(record)
        if record.exc_info and record.exc_info[0]:
            yield "exception", self.formatException(record.exc_info)
        if record.stack_info:
            yield "stack", record.stack_info

    def _line(self, head: Mapping[str, Plain], fields: Mapping[str, Plain]) -> str:
        raise NotImplementedError


class TextFormatter(LineFormatter):
    """`TIME LEVEL event name=value ...`, values quoted as in JSON where they need to be."""

    def _line(self, head: Mapping[str, Plain], fields: Mapping[str, Plain]) -> str:
        named = [f"{name}={_quoted(value)}" for name, value in fields.items()]
        return " ".join([*(_quoted(value) for value in head.values()), *named])


class JsonFormatter(LineFormatter):
    """One JSON object: `time`, `level`, `event`, then the fields."""

    def _line(self, head: Mapping[str, Plain], fields: Mapping[str, Plain]) -> str:
        return json.dumps({**head, **fields})


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell whether the message is an event's name, rather than a library's sentence."""
    return hasattr(record, _FIELDS) or bool(_EVENT_NAME.fullmatch(_message_of(record)))


def _event_of(record: logging.LogRecord) -> str:
    return _message_of(record) if _is_ours(record) else record.name


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # A library's message whose arguments do not fit: half a message is better than none.
        return str(record.msg)


def _plain(value: object) -> Plain:
    """Return what JSON can hold; strings without addresses and cut to a bound."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    # Masked before it is cut, lest half an address stay; more than this is not looked at.
    return _cut(masked(text[: 2 * _LONGEST_VALUE]), _LONGEST_VALUE)


def _cut(value: Plain, longest: int) -> Plain:
    if not isinstance(value, str) or len(value) <= longest + len(_CUT):
        return value
    return value[:longest] + _CUT


def masked(text: str) -> str:
    """Return `text` without what looks like an e-mail address or a token."""
    return without_addresses(_TOKEN.sub(r"\1 [token]", text), "[address]")


def _priority(level: int) -> str:
    found = (prefix for least, prefix in _PRIORITIES.items() if level >= least)
    return next(found, _DEBUG_PRIORITY)


def _quoted(value: Plain) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    # Only ASCII: a line separator or a change of writing direction cannot fake another line.
    return json.dumps(value)
