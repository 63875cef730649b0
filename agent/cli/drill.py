"""`loyalty-agent drill`: run a failure drill with real processes and print the result."""

import asyncio
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.client import AGENT
from agent.cli.drill_view import progress_display
from agent.drill.processes import ProcessFailedError
from agent.drill.result import DrillResult
from agent.drill.scenario import FAST, NORMAL, run_drill
from sync.runtime.cli.printing import print_values
from sync.runtime.cli.program import ExitCode

_LABELS = {
    "captured": "requested by the tills",
    "acknowledged": "acknowledged to the tills",
    "at_head_office": "at head office",
    "lost": "lost",
    "duplicated": "duplicated",
    "unknown": "unknown",
    "changed": "changed",
    "out_of_order": "out of order",
}
_NOT_FAULTS = {"captured", "acknowledged", "at_head_office"}


def drill(
    *, fast: Annotated[bool, typer.Option("--fast", help="Take seconds, not a minute.")] = False
) -> None:
    """Run a failure drill and verify the result.

    Starts a real agent, a real receiver and three simulated tills in a temporary directory,
    cuts the network, crashes the agent, and restores the network. The agent installed on this
    machine is not touched. The exit code is 1 if a capture is lost, duplicated, changed or out
    of order.
    """
    timing = FAST if fast else NORMAL
    try:
        with (
            tempfile.TemporaryDirectory(prefix="loyalty-drill-") as scratch,
            progress_display() as show,
        ):
            result = asyncio.run(run_drill(Path(scratch), timing, show))
    except ProcessFailedError as error:
        AGENT.fail(f"the drill could not be run: {error}")
    _print(result)
    raise typer.Exit(ExitCode.OK if result.is_good else ExitCode.PROBLEM)


def _print(result: DrillResult) -> None:
    print_values("\nResult", {_LABELS[name]: value for name, value in asdict(result).items()})
    if result.is_good:
        typer.secho("\nPASSED: every acknowledged capture arrived once.", bold=True, fg="green")
    else:
        typer.secho(f"\nFAILED: {_faults(result)}.", bold=True, fg="red")


def _faults(result: DrillResult) -> str:
    """Describe the counts that should be 0 and are not."""
    faults = [
        f"{count:,} {_LABELS[name]}"
        for name, count in asdict(result).items()
        if count and name not in _NOT_FAULTS
    ]
    if result.acknowledged < result.captured:
        faults.insert(0, f"{result.captured - result.acknowledged:,} not acknowledged")
    return ", ".join(faults) or "no capture was made"
