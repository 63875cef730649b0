"""Verdict and one line for monitoring systems, from the members of a status document. No I/O.

As the Monitoring Plugins Development Guidelines have it: OK, WARNING, CRITICAL, UNKNOWN; one line
of text, then performance data, which Nagios, Icinga and others read alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from agent.api.delivery import CAPTURE_ONLY
from agent.api.status.view import Level, Status
from sync.runtime.printable import printable

_NAME = "LOYALTY AGENT"
_MAX_TEXT = 1000
# A line that is down for a night or a Sunday is no alarm by default.
DEFAULT_MAX_AGE = timedelta(days=1)
_SEVERITY_ORDER = ("OK", "UNKNOWN", "WARNING", "CRITICAL")


class Severity(IntEnum):
    """Exit codes of a monitoring plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_SEVERITIES = {Level.WARNING: Severity.WARNING, Level.ALARM: Severity.CRITICAL}


@dataclass(frozen=True, slots=True)
class Limits:
    """How old the oldest undelivered capture may be, and how many may wait; None: any."""

    max_age: timedelta | None
    max_waiting: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement and its severity."""

    severity: Severity
    text: str


def judge(members: Mapping[str, object], limits: Limits, now: datetime) -> list[Finding]:
    """Return what is wrong, the most severe first; empty if all is well."""
    found = [
        Finding(_SEVERITIES[headline.level], headline.text)
        for headline in Status(members).problems()
    ]
    if not _is_capture_only(members):
        found += _beyond(members, limits, now)
    return sorted(found, key=lambda one: -_SEVERITY_ORDER.index(one.severity.name))


def plugin_line(
    members: Mapping[str, object], findings: list[Finding], limits: Limits, now: datetime
) -> str:
    """Return the line of a plugin: verdict, text, performance data."""
    text = " ".join(one.text for one in findings)
    if not findings:
        text = " ".join(headline.text for headline in Status(members).headlines())
    return f"{status_line(worst(findings), text)} | {_performance(members, limits, now)}"


def status_line(severity: Severity, text: str) -> str:
    """Return verdict and text on one line, without the character that ends the text."""
    return f"{_NAME} {severity.name}: {printable(text, _MAX_TEXT).replace('|', '/')}"


def worst(findings: list[Finding]) -> Severity:
    """Return the severity of the first, most severe finding; OK if there is none."""
    return findings[0].severity if findings else Severity.OK


def _beyond(members: Mapping[str, object], limits: Limits, now: datetime) -> list[Finding]:
    """Return the limits that the backlog exceeds."""
    waiting, age = members.get("waiting"), _oldest_age(members, now)
    found = []
    if limits.max_age is not None and age is not None and age > limits.max_age:
        text = (
            f"The oldest undelivered capture is {_words(age)} old, limit {_words(limits.max_age)}."
        )
        found.append(Finding(Severity.CRITICAL, text))
    if limits.max_waiting is not None and isinstance(waiting, int) and waiting > limits.max_waiting:
        text = f"Pending captures: {waiting:,}, limit {limits.max_waiting:,}."
        found.append(Finding(Severity.CRITICAL, text))
    if not isinstance(waiting, int):
        found.append(Finding(Severity.UNKNOWN, "The number of pending captures is unknown."))
    return found


def _performance(members: Mapping[str, object], limits: Limits, now: datetime) -> str:
    storage = members.get("storage")
    files: Mapping[str, object] = storage if isinstance(storage, Mapping) else {}
    age, waiting = _oldest_age(members, now), members.get("waiting")
    seconds = None if not isinstance(waiting, int) else round((age or timedelta()).total_seconds())
    max_seconds = "" if limits.max_age is None else f"{limits.max_age.total_seconds():.0f}"
    max_waiting = "" if limits.max_waiting is None else str(limits.max_waiting)
    values = (
        f"waiting={_value(waiting)};;{max_waiting};0;",
        f"oldest={_value(seconds, 's')};;{max_seconds};0;",
        f"dead_letters={_value(members.get('deadLetters'))};0;;0;",
        f"lost={_value(_lost(members))};;0;0;",
        f"free={_value(files.get('freeBytes'), 'B')};;;0;",
        f"database={_value(files.get('databaseBytes'), 'B')};;;0;",
    )
    return " ".join(values)


def _value(value: object, unit: str = "") -> str:
    """Return a number with its unit; `U` if it is unknown."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return f"{value}{unit}" if is_number else "U"


def _lost(members: Mapping[str, object]) -> int | None:
    """Return how many captures are lost and not accepted as such; None if that is unknown."""
    epochs = members.get("lost")
    if not isinstance(epochs, list) or not isinstance(members.get("waiting"), int):
        return None
    return sum(_length(one) for one in epochs if isinstance(one, Mapping))


def _length(lost: Mapping[str, object]) -> int:
    if lost.get("acknowledgedAt"):
        return 0
    count, first, last = (lost.get(name) for name in ("captures", "firstSequence", "lastSequence"))
    if isinstance(count, int):
        return count
    return last - first + 1 if isinstance(first, int) and isinstance(last, int) else 0


def _oldest_age(members: Mapping[str, object], now: datetime) -> timedelta | None:
    """Return the age of the oldest undelivered capture; None if there is none, or no valid time."""
    text = members.get("oldestWaitingAt")
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if at is None:
        return None
    return max(now - (at if at.tzinfo else at.replace(tzinfo=UTC)), timedelta())


def _is_capture_only(members: Mapping[str, object]) -> bool:
    """Return whether nothing is to be delivered: limits on the backlog mean nothing then."""
    sync, central = members.get("sync"), members.get("central")
    if isinstance(sync, Mapping) and sync.get("state") == CAPTURE_ONLY:
        return True
    return isinstance(central, Mapping) and central.get("url") == ""


def _words(period: timedelta) -> str:
    """Return `2d 3h`, `3h 20m`, `5m`: the two largest units."""
    seconds, parts = int(period.total_seconds()), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return " ".join(parts[:2]) or "0s"
