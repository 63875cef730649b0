"""`loyalty-agent drill`: output and exit codes."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from agent.cli import app
from agent.cli.drill import live_view
from agent.drill.processes import ProcessFailedError
from agent.drill.result import DrillResult
from agent.drill.scenario import DrillProgress, ShowProgress, Timing
from tests.support.agent.process import agent
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT
from tests.support.terminal import COLUMNS


def lines_of(
    outcome: DrillResult | ProcessFailedError, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Return exit code and output of a drill that ends with `outcome` after one step."""

    async def run_drill(_directory: Path, _timing: Timing, show: ShowProgress) -> DrillResult:
        show(DrillProgress(["a step"]))
        if isinstance(outcome, ProcessFailedError):
            raise outcome
        return outcome

    monkeypatch.setattr("agent.cli.drill.run_drill", run_drill)
    result = CliRunner().invoke(app, ["drill"])
    return result.exit_code, result.output


@pytest.mark.process
def test_fast_drill_passes() -> None:
    result = agent("drill", "--fast")
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert lines[-1] == "PASSED: every acknowledged capture arrived once."
    assert {"lost: 0", "duplicated: 0", "changed: 0", "out of order: 0"} <= set(lines)
    assert "THE AGENT CRASHES: the tills retry" in lines


@pytest.mark.parametrize(
    ("result", "last"),
    [
        (DrillResult(9, 9, 8, lost=1), "FAILED: 1 lost."),
        (DrillResult(9, 9, 9, 0, 2, 0, 0, 1), "FAILED: 2 duplicated, 1 out of order."),
        (DrillResult(9, 7, 7), "FAILED: 2 not acknowledged."),
        (DrillResult(), "FAILED: no capture was made."),
    ],
)
def test_failed_drill_names_the_faults_last_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, result: DrillResult, last: str
) -> None:
    code, output = lines_of(result, monkeypatch)
    assert (code, output.splitlines()[-1]) == (1, last)


def test_drill_that_cannot_start_exits_with_1_and_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, output = lines_of(ProcessFailedError("no port"), monkeypatch)
    assert code == 1
    assert "the drill could not be run: no port" in output


def test_large_counts_fit_the_width_of_a_terminal() -> None:
    result = DrillResult(1_234_567, 1_234_567, 1_200_000, 34_567, duplicated=12, out_of_order=34)
    console = Console(file=io.StringIO(), width=COLUMNS)

    console.print(live_view(DrillProgress(["the line is cut"], 123_456, result)))

    *_, counts, wrong = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert counts.split() == [
        *("acknowledged", "1,234,567", "in", "flight", "34,567", "retries", "123,456")
    ]
    assert wrong.split() == ["duplicated", "12", "out", "of", "order", "34"]


@pytest.mark.campaign
def test_planted_loss_is_found_in_a_real_drill() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.agent.drill.losing", "drill", "--fast"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert result.stdout.splitlines()[-1].startswith("FAILED: 1 lost")
