"""A finding: verdict, description and advice."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

CONFIGURATION = "configuration"


class Verdict(StrEnum):
    """Severity of a finding: fix a `fault` now, look into a `warning`."""

    PASS = "pass"  # noqa: S105 - a verdict
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `advice` is the next step for the operator; empty if none is needed."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def passed(name: str, found: str) -> Check:
    """Return a finding without a problem."""
    return Check(name, Verdict.PASS, found)


def warning(name: str, found: str, advice: str) -> Check:
    """Return a finding to look into."""
    return Check(name, Verdict.WARNING, found, advice)


def fault(name: str, found: str, advice: str) -> Check:
    """Return a finding to fix now."""
    return Check(name, Verdict.FAULT, found, advice)


def worst(checks: Iterable[Check]) -> Verdict:
    """Return the worst verdict of `checks`; `pass` if there are none."""
    return max((check.verdict for check in checks), key=list(Verdict).index, default=Verdict.PASS)
