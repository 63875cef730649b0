"""How both programs write their log: one line for one thing that happened, as text or JSON.

Addresses and tokens never belong in a log call. Should an address get into one all the
same (in the message of a library's exception, say), it is masked. That is a net and not
the rule: it knows an address only by its usual looks.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TextIO, TypeAlias

Plain: TypeAlias = str | int | float | bool | None

_FIELDS = "fields"
_OUR_LOGGERS = ("agent", "sync")
_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")
_BARE = re.compile(r"[A-Za-z0-9_.:/+@%-]+")
_NOT_IN_A_FIELD_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
# Bounded on both sides of the @, so that a long text without blanks takes no long time.
_ADDRESS_PART = r"[^\s@\"'<>(),;:=\[\]{}|/\\]"
_ADDRESS = re.compile(rf"{_ADDRESS_PART}{{1,256}}?(?:@|%40){_ADDRESS_PART}{{1,256}}")
_LONGEST_VALUE = 8_192


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
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    for earlier in [h for h in root.handlers if isinstance(h.formatter, LineFormatter)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    own_level = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(own_level, logging.WARNING))
    for name in _OUR_LOGGERS:
        logging.getLogger(name).setLevel(own_level)
    logging.captureWarnings(capture=True)


class LineFormatter(logging.Formatter):
    """Makes any log record, a library's too, one line without line ends or control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = datetime.fromtimestamp(record.created, UTC)
        head = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "event": _plain(_event_of(record)),
        }
        fields: dict[str, Plain] = {}
        for name, value in self._fields_of(record):
            safe_name = _NOT_IN_A_FIELD_NAME.sub("_", _masked(name)) or "_"
            fields[f"{safe_name}_" if safe_name in head else safe_name] = _plain(value)
        return self._line(head, fields)

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
    masked = _masked(text[: 2 * _LONGEST_VALUE])
    return masked if len(masked) <= _LONGEST_VALUE else f"{masked[:_LONGEST_VALUE]}[cut]"


def _masked(text: str) -> str:
    return _ADDRESS.sub("[address]", text) if "@" in text or "%40" in text else text


def _quoted(value: Plain) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    # Only ASCII: a line separator or a change of writing direction cannot fake another line.
    return json.dumps(value)
