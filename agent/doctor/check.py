"""What a check found, how bad it is, and what is to be done about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How bad a finding is: `fault` needs mending now, `warning` a look."""

    PASS = "pass"  # noqa: S105 - a verdict
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `advice` says what to do next; empty where there is nothing to do."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def passed(name: str, found: str) -> Check:
    """Return the finding that all is well."""
    return Check(name, Verdict.PASS, found)


def warning(name: str, found: str, advice: str) -> Check:
    """Return a finding that somebody should look at."""
    return Check(name, Verdict.WARNING, found, advice)


def fault(name: str, found: str, advice: str) -> Check:
    """Return a finding that has to be mended."""
    return Check(name, Verdict.FAULT, found, advice)


def worst(checks: Iterable[Check]) -> Verdict:
    """Return the worst verdict of `checks`; `pass` where there are none."""
    return max((check.verdict for check in checks), key=list(Verdict).index, default=Verdict.PASS)
