"""Findings about a till, and their sum."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.certify.situations import Situation
from agent.sandbox.exchange import Exchange


class Verdict(StrEnum):
    """Verdict of a finding, a situation or a certification, the best first."""

    PASSED = "passed"
    ADVICE = "advice"
    NOT_SEEN = "not seen"
    FAILED = "failed"


_ORDER = list(Verdict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the till did or did not do. `advice` says how to mend it."""

    rule: str
    verdict: Verdict
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class SaleEnd:
    """How a sale ended: `is_sold` is None if nobody said. `at` is a time as in `Exchange`."""

    is_sold: bool | None
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """A situation with its findings and what passed on the wire."""

    situation: Situation
    findings: tuple[Finding, ...]
    exchanges: tuple[Exchange, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst finding; advice does not spoil a pass."""
        worst = worst_of(finding.verdict for finding in self.findings)
        return Verdict.PASSED if worst is Verdict.ADVICE else worst


def overall(judgements: Iterable[Judgement]) -> Verdict:
    """Return the verdict on the till. What is optional and not seen does not count."""
    return worst_of(
        one.verdict
        for one in judgements
        if not (one.situation.is_optional and one.verdict is Verdict.NOT_SEEN)
    )


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; nothing at all was not seen."""
    return max(verdicts, key=_ORDER.index, default=Verdict.NOT_SEEN)
