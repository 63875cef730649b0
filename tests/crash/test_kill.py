"""SIGKILL at any moment: every capture answered with 200 is recorded once and complete."""

import os
import random
import sys
from pathlib import Path

import pytest

from tests.crash.rounds import crash_once, judge
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.process

SEED = int(os.environ.get("CRASH_SEED", "20250109"))
PARTS, KILLS_IN_PART = 4, 5
SABOTAGED = (sys.executable, "-m", "tests.crash.answering_early")
SABOTAGE_ROUNDS = 6


@pytest.mark.parametrize("part", range(PARTS))
async def test_kills_lose_no_acknowledged_capture(tmp_path: Path, part: int) -> None:
    """Twenty kills, in parts that can run at the same time."""
    print(f"CRASH_SEED={SEED}")
    rng, ledger = random.Random(SEED + part), TillLedger()
    for _ in range(KILLS_IN_PART):
        await crash_once(tmp_path / "state", ledger, rng)
    findings = await judge(tmp_path / "state", ledger)
    print(f"{KILLS_IN_PART} kills, {len(ledger.acknowledged)} captures acknowledged")
    assert not findings, findings
    assert not ledger.refused


async def test_agent_that_answers_before_commit_is_detected(tmp_path: Path) -> None:
    """Control: the same rounds detect the planted fault."""
    print(f"CRASH_SEED={SEED}")
    rng = random.Random(SEED)
    for number in range(SABOTAGE_ROUNDS):
        directory, ledger = tmp_path / f"state-{number}", TillLedger()
        await crash_once(directory, ledger, rng, SABOTAGED)
        findings = ledger.compare(directory)
        if findings.lost:
            print(f"{len(findings.lost)} of {len(ledger.acknowledged)} lost in round {number + 1}")
            return
    pytest.fail("the crash tests would not notice an answer before the commit")
