"""Findings about a till, and the verdict that follows from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agent.certify.situations import Situation
from agent.sandbox.exchange import Exchange


class TillVerdict(StrEnum):
    """Verdict of a finding, a situation or a certification, the best first."""

    PASSED = "passed"
    ADVICE = "advice"
    NOT_SEEN = "not seen"
    FAILED = "failed"


_ORDER = list(TillVerdict)


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """Result of one rule. `advice` tells the integrator how to mend the till."""

    rule: str
    verdict: TillVerdict
    text: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class SaleEnd:
    """End of a sale. `is_sold` is None if it is not known. `at` is a time as in `Exchange`."""

    is_sold: bool | None
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """A situation with its findings and its requests."""

    situation: Situation
    findings: tuple[RuleFinding, ...]
    exchanges: tuple[Exchange, ...] = ()

    @property
    def verdict(self) -> TillVerdict:
        """The verdict of the worst finding; a situation with advice alone is passed."""
        worst = worst_of(finding.verdict for finding in self.findings)
        return TillVerdict.PASSED if worst is TillVerdict.ADVICE else worst


def overall(judgements: Iterable[Judgement]) -> TillVerdict:
    """Return the verdict on the till. An optional situation that was not seen does not count."""
    return worst_of(
        one.verdict
        for one in judgements
        if not (one.situation.is_optional and one.verdict is TillVerdict.NOT_SEEN)
    )


def worst_of(verdicts: Iterable[TillVerdict]) -> TillVerdict:
    """Return the worst verdict; NOT_SEEN if there is none."""
    return max(verdicts, key=_ORDER.index, default=TillVerdict.NOT_SEEN)
