"""2,000 disks that a power cut can leave: everything acknowledged is there, tills are served."""

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.states.disk import Disk
from tests.crash.states.recording import Answered, Operation, read_recording, traced
from tests.crash.states.verdict import Verdict, build, judge
from tests.support.agent.process import AGENT, agent_process
from tests.support.till.ledger import TillLedger

pytestmark = [pytest.mark.campaign, pytest.mark.process]
SEED = 20261129
STATES = 2_000
STATES_OF_CONTROL = 300
RUNS, CUSTOMERS, TILLS = 2, 40, 4
SERVED_WITHIN_SECONDS = 2.0


async def record(place: Path, program: tuple[str, ...]) -> tuple[TillLedger, list[Operation], str]:
    """Run an agent under load, twice from start to stop; return what it did."""
    ledger, directory = TillLedger(), place / "state"
    operations: list[Operation] = []
    for number in range(RUNS):
        log = place / f"calls-{number}"
        async with agent_process(directory, program=traced(program, log)) as child:
            crowd = await ledger.open_tills(await child.ready(), TILLS, CUSTOMERS)
            assert await crowd.finished(timeout_seconds=60)
            child.terminate()
            assert await child.exit_code() == 0
        operations += read_recording(log)
        log.unlink()
    assert not ledger.refused
    return ledger, operations, str(directory)


def verdicts(
    place: Path, ledger: TillLedger, operations: list[Operation], root: str, states: int
) -> Iterator[Verdict]:
    """Yield the verdict on each of `states` crash states, spread over the recording."""
    rng, disk = random.Random(SEED), Disk(root)
    # The first ones are of an empty disk: nothing is acknowledged there, but it must start.
    points = sorted(rng.choices(range(len(operations) + 1), k=states))
    acknowledged: list[str] = []
    for at, operation in enumerate([*operations, Answered("")]):
        while points and points[0] == at:
            points.pop(0)
            state = place / "crashed"
            build(disk.after_power_cut(rng), root, state)
            yield judge(state, ledger, acknowledged, f"epoch-{len(points)}")
            shutil.rmtree(state)
        if isinstance(operation, Answered):
            acknowledged.append(operation.receipt)
        disk.apply(operation)


async def test_no_crash_state_loses_an_acknowledged_capture(tmp_path: Path) -> None:
    ledger, operations, root = await record(tmp_path, AGENT)
    found = list(verdicts(tmp_path, ledger, operations, root, STATES))
    slowest = max(one.seconds for one in found)
    print(f"{len(found)} states, {len(ledger.acknowledged)} captures, slowest {slowest:.2f} s")
    assert len(found) == STATES
    assert [one.lost for one in found if one.lost] == []
    assert slowest < SERVED_WITHIN_SECONDS


@pytest.mark.parametrize(
    "module", ["tests.crash.states.synchronous_normal", "tests.crash.answering_early"]
)
async def test_planted_fault_of_durability_is_detected(tmp_path: Path, module: str) -> None:
    """Control: the same states show that the planted fault loses captures."""
    ledger, operations, root = await record(tmp_path, (sys.executable, "-m", module))
    found = list(verdicts(tmp_path, ledger, operations, root, STATES_OF_CONTROL))
    losing = sum(bool(one.lost) for one in found)
    print(f"{losing} of {len(found)} states lose a capture")
    assert losing
