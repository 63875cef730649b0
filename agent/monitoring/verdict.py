"""Verdict and one line for monitoring systems, from the members of a status document. No I/O.

As the Monitoring Plugins Development Guidelines have it: OK, WARNING, CRITICAL, UNKNOWN; one line
of text, then performance data, which Nagios, Icinga and others read alike.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from agent.api.delivery import CAPTURE_ONLY
from agent.api.status.document import Members, lost_captures, number, section, sections
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


def judge(members: Members, limits: Limits, now: datetime) -> list[Finding]:
    """Return the problems, the most severe first."""
    found = [
        Finding(_SEVERITIES[headline.level], headline.text)
        for headline in Status(members).problems()
    ]
    if not _is_capture_only(members):
        found += _beyond(members, limits, now)
    return sorted(found, key=lambda one: -_SEVERITY_ORDER.index(one.severity.name))


def plugin_line(members: Members, findings: list[Finding], limits: Limits, now: datetime) -> str:
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


def _beyond(members: Members, limits: Limits, now: datetime) -> list[Finding]:
    """Return the limits that the backlog exceeds."""
    waiting, age = number(members, "waiting"), _oldest_age(members, now)
    found = []
    if limits.max_age is not None and age is not None and age > limits.max_age:
        text = (
            f"The oldest undelivered capture is {_words(age)} old, limit {_words(limits.max_age)}."
        )
        found.append(Finding(Severity.CRITICAL, text))
    if waiting is not None and limits.max_waiting is not None and waiting > limits.max_waiting:
        text = f"Pending captures: {waiting:,}, limit {limits.max_waiting:,}."
        found.append(Finding(Severity.CRITICAL, text))
    if waiting is None:
        found.append(Finding(Severity.UNKNOWN, "The number of pending captures is unknown."))
    return found


def _performance(members: Members, limits: Limits, now: datetime) -> str:
    files, waiting = section(members, "storage"), number(members, "waiting")
    age = _oldest_age(members, now)
    seconds = None if waiting is None else round((age or timedelta()).total_seconds())
    max_seconds = "" if limits.max_age is None else f"{limits.max_age.total_seconds():.0f}"
    max_waiting = "" if limits.max_waiting is None else str(limits.max_waiting)
    values = (
        f"waiting={_value(waiting)};;{max_waiting};0;",
        f"oldest={_value(seconds, 's')};;{max_seconds};0;",
        f"dead_letters={_value(number(members, 'deadLetters'))};0;;0;",
        f"lost={_value(_lost(members))};;0;0;",
        f"free={_value(number(files, 'freeBytes'), 'B')};;;0;",
        f"database={_value(number(files, 'databaseBytes'), 'B')};;;0;",
        f"stuck={_value(number(members, 'stuck'))};0;;0;",
    )
    return " ".join(values)


def _value(value: int | None, unit: str = "") -> str:
    """Return a number with its unit; `U` if it is unknown."""
    return "U" if value is None else f"{value}{unit}"


def _lost(members: Members) -> int | None:
    """Return how many captures are lost and not accepted as such; None if that is unknown."""
    if not isinstance(members.get("lost"), list) or number(members, "waiting") is None:
        return None
    lost = [one for one in sections(members, "lost") if not one.get("acknowledgedAt")]
    return sum(lost_captures(one) or 0 for one in lost)


def _oldest_age(members: Members, now: datetime) -> timedelta | None:
    """Return the age of the oldest undelivered capture; None if there is none, or no valid time."""
    text = members.get("oldestWaitingAt")
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if at is None:
        return None
    return max(now - (at if at.tzinfo else at.replace(tzinfo=UTC)), timedelta())


def _is_capture_only(members: Members) -> bool:
    """Return whether nothing is to be delivered: limits on the backlog mean nothing then."""
    is_told_so = section(members, "sync").get("state") == CAPTURE_ONLY
    return is_told_so or section(members, "central").get("url") == ""


def _words(period: timedelta) -> str:
    """Return `2d 3h`, `3h 20m`, `5m`: the two largest units."""
    seconds, parts = int(period.total_seconds()), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
    return " ".join(parts[:2]) or "0s"
