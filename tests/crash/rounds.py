"""One round of a crash campaign: start, load, kill; the next round repeats lost requests."""

import random
from collections.abc import Sequence
from pathlib import Path

from tests.support.agent.process import AGENT, agent_process
from tests.support.till.ledger import Findings, TillLedger

TILLS = 8


async def crash_once(
    directory: Path, ledger: TillLedger, rng: random.Random, program: Sequence[str] = AGENT
) -> None:
    """Kill an agent under load, 50 to 400 ms after the first answer of this round."""
    ledger.any_acknowledged.clear()
    async with agent_process(directory, program=program) as child:
        crowd = await ledger.open_tills(await child.ready(), TILLS)
        await ledger.any_acknowledged.wait()
        assert await child.still_runs_after(rng.uniform(0.05, 0.4)), child.log_tail()
        child.kill()
        await child.exit_code()
        assert await crowd.finished(timeout_seconds=10)
    assert not crowd.failures
    ledger.ask_again([question.pair for question in crowd.in_doubt])


async def judge(directory: Path, ledger: TillLedger) -> Findings:
    """Restart the agent, repeat the requests in doubt, and compare."""
    async with agent_process(directory) as child:
        crowd = await ledger.open_tills(await child.ready(), TILLS, customers=0)
        assert await crowd.finished(timeout_seconds=10)
        return ledger.compare(directory)
