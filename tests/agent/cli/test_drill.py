"""`loyalty-agent drill`: output and exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.commands import app
from agent.drill import Length, PartFailed, Verdict
from agent.drill.day import Scene, Watch
from tests.support.agent.commands import SOURCE_TREE, agent


def lines_of(verdict: Verdict | PartFailed, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Return exit code and output of a drill that ends with `verdict` after one act."""

    async def rehearse(_directory: Path, _length: Length, watch: Watch) -> Verdict:
        watch(Scene(["an act"]))
        if isinstance(verdict, PartFailed):
            raise verdict
        return verdict

    monkeypatch.setattr("agent.drill.rehearse", rehearse)
    result = CliRunner().invoke(app, ["drill"])
    return result.exit_code, result.output


def test_fast_drill_passes() -> None:
    result = agent("drill", "--fast")
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert lines[-1] == "Every promise was kept."
    assert {"lost: 0", "doubled: 0", "changed: 0", "out of order: 0"} <= set(lines)
    assert "THE AGENT CRASHES: the tills ask again" in lines


@pytest.mark.parametrize(
    ("verdict", "last"),
    [
        (Verdict(9, 9, 8, lost=1), "A PROMISE WAS BROKEN: 1 lost."),
        (Verdict(9, 9, 9, 0, 2, 0, 0, 1), "A PROMISE WAS BROKEN: 2 doubled, 1 out of order."),
        (Verdict(9, 7, 7), "A PROMISE WAS BROKEN: 2 not acknowledged."),
        (Verdict(), "A PROMISE WAS BROKEN: no till was served."),
    ],
)
def test_failed_drill_names_the_faults_last_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, verdict: Verdict, last: str
) -> None:
    code, output = lines_of(verdict, monkeypatch)
    assert (code, output.splitlines()[-1]) == (1, last)


def test_drill_that_cannot_start_exits_with_1_and_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, output = lines_of(PartFailed("no port"), monkeypatch)
    assert code == 1
    assert "the drill could not be held: no port" in output


@pytest.mark.campaign
def test_planted_loss_is_found_in_a_real_drill() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.agent.drill.losing", "drill", "--fast"],
        cwd=SOURCE_TREE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert result.stdout.splitlines()[-1].startswith("A PROMISE WAS BROKEN: 1 lost")
