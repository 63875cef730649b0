"""`loyalty-agent drill`: run a failure drill with real processes; show progress and result."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from agent.cli.client import AGENT
from agent.drill.processes import ProcessFailedError
from agent.drill.result import DrillResult
from agent.drill.scenario import FAST, NORMAL, DrillProgress, ShowProgress, run_drill
from agent.drill.scratch_directory import scratch_directory
from sync.runtime.cli.printing import label, print_values, say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.translation import in_language

_BAR_WIDTH = 40
_UPDATES_PER_SECOND = 8


def drill(
    *,
    fast: Annotated[
        bool, typer.Option("--fast", help="Finish in seconds instead of a minute.")
    ] = False,
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
            scratch_directory("loyalty-drill-") as scratch,
            _progress_display() as show,
        ):
            result = asyncio.run(run_drill(scratch, timing, show))
    except ProcessFailedError as error:
        AGENT.fail(f"the drill could not be run: {error}")
    _print(result)
    raise typer.Exit(ExitCode.OK if result.is_good else ExitCode.PROBLEM)


@contextmanager
def _progress_display() -> Iterator[ShowProgress]:
    """Yield a function that displays the drill: live on a terminal, else one line per step."""
    if sys.stdout.isatty():
        with Live(refresh_per_second=_UPDATES_PER_SECOND) as live:
            yield lambda progress: live.update(live_view(progress))
        return
    printed: list[str] = []

    def print_new_steps(progress: DrillProgress) -> None:
        for step in progress.steps[len(printed) :]:
            say(step)
            printed.append(step)

    yield print_new_steps


def live_view(progress: DrillProgress) -> RenderableType:
    """Return the live view: steps, bar of delivered captures, counts."""
    interim = progress.interim
    done = [Text(f"  {in_language(step)}", style="dim") for step in progress.steps[:-1]]
    current = [Text(f"> {in_language(step)}", style="bold") for step in progress.steps[-1:]]
    delivered = interim.at_head_office
    bar = ProgressBar(max(1, interim.acknowledged), delivered, width=_BAR_WIDTH)
    counts = Text.assemble(
        in_language(
            f"  acknowledged {interim.acknowledged:,}   in flight {interim.lost:,}"
            f"   retries {progress.retries:,}"
        ),
        "\n  ",
        (
            in_language(
                f"duplicated {interim.duplicated:,}   out of order {interim.out_of_order:,}"
            ),
            "bold red" if interim.faults.keys() - {"lost"} else "green",
        ),
    )
    return Group(
        *done,
        *current,
        Text(),
        Columns([in_language("  at head office"), bar, f"{delivered:,}"]),
        counts,
    )


def _print(result: DrillResult) -> None:
    labels = {"captured": "requested by the tills", "acknowledged": "acknowledged to the tills"}
    counts = asdict(result).items()
    named = {label(labels.get(name, name.replace("_", " "))): number for name, number in counts}
    print_values(label("\nResult"), named)
    if result.is_good:
        say("\nPASSED: every acknowledged capture arrived once.", bold=True, fg="green")
    else:
        say(f"\nFAILED: {_faults(result)}.", bold=True, fg="red")


def _faults(result: DrillResult) -> str:
    faults = [f"{n:,} {name.replace('_', ' ')}" for name, n in result.faults.items()]
    if result.acknowledged < result.captured:
        faults.insert(0, f"{result.captured - result.acknowledged:,} not acknowledged")
    return ", ".join(faults) or "no capture was made"
