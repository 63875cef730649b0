"""Drives a certification: one situation after the other on one sandbox."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.certify.findings import Finding, Judgement, Verdict
from agent.certify.judge import Evidence, judge
from agent.certify.situations import Limits, Situation
from agent.certify.stage import Stage
from agent.certify.tills import Till
from agent.sandbox.front import Front

# A program has ended: the ends of its connections are on their way.
_QUIET_SECONDS = 1.0
SKIPPED = Finding("skipped", Verdict.NOT_SEEN, "The situation was skipped.")


@dataclass(frozen=True, slots=True)
class Certification:
    """A till, and the sandbox that it uses."""

    till: Till
    stage: Stage
    front: Front
    limits: Limits

    async def run(
        self, situations: Sequence[Situation], show: Callable[[Judgement], None]
    ) -> list[Judgement]:
        """Play the situations; show and return the judgements.

        Raises `CommandError` if the till's program cannot be started.
        """
        judgements = []
        for situation in situations:
            judgement = await self._play(situation)
            judgements.append(judgement)
            show(judgement)
        return judgements

    async def _play(self, situation: Situation) -> Judgement:
        self.stage.begin(situation)
        end = await self.till.sell(situation)
        await self.front.quiet(_QUIET_SECONDS)
        exchanges = tuple(self.stage.exchanges)
        if end is None:
            return Judgement(situation, (SKIPPED,), exchanges)
        evidence = Evidence(situation, exchanges, tuple(self.stage.stale), end, self.limits)
        return Judgement(situation, judge(evidence), exchanges)
