"""Plays the situations of a certification, one after the other, on one sandbox."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.certify.judge import PlayedSituation, judge
from agent.certify.judgement import Judgement, RuleFinding, TillVerdict
from agent.certify.situation_faults import SituationFaults
from agent.certify.situations import SaleLimits, Situation
from agent.certify.tested_till import Till
from agent.sandbox.fault_proxy import FaultProxy

# After a program has ended, for the ends of its connections to arrive.
_QUIET_SECONDS = 1.0
SKIPPED = RuleFinding("skipped", TillVerdict.NOT_SEEN, "The situation was skipped.")


@dataclass(frozen=True, slots=True)
class Certification:
    """Certification of a till on a sandbox."""

    till: Till
    faults: SituationFaults
    proxy: FaultProxy
    limits: SaleLimits

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
        self.faults.begin(situation)
        end = await self.till.sell(situation)
        await self.proxy.quiet(_QUIET_SECONDS)
        exchanges = tuple(self.faults.exchanges)
        if end is None:
            return Judgement(situation, (SKIPPED,), exchanges)
        played = PlayedSituation(situation, exchanges, tuple(self.faults.stale), end, self.limits)
        return Judgement(situation, judge(played), exchanges)
