"""`loyalty-agent drill`: run a failure drill with real processes and print the verdict."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.arguments import NAME, ExitCode

if TYPE_CHECKING:
    from agent.drill import Verdict

_WORDS = {
    "captured": "asked for by the tills",
    "acknowledged": "acknowledged to them",
    "at_head_office": "at head office",
    "lost": "lost",
    "doubled": "doubled",
    "foreign": "asked for by no till",
    "changed": "changed",
    "out_of_order": "out of order",
}
_GOOD = {"captured", "acknowledged", "at_head_office"}
_KEPT = "Every promise was kept."
_BROKEN = "A PROMISE WAS BROKEN"


def drill(
    *, fast: Annotated[bool, typer.Option("--fast", help="Take seconds, not a minute.")] = False
) -> None:
    """Run a failure drill and verify the result.

    Starts a real agent, a real receiver and three simulated tills in a temporary directory,
    cuts the network, crashes the agent, and restores the network. The agent installed on this
    machine is not touched. The exit code is 1 if a capture is lost, duplicated, changed or out
    of order.
    """
    import asyncio  # noqa: PLC0415 - keeps --help quick

    from agent.cli.drill_view import stage  # noqa: PLC0415 - as above
    from agent.drill import DAY, FAST, PartFailed, rehearse  # noqa: PLC0415 - as above

    try:
        with tempfile.TemporaryDirectory(prefix="loyalty-drill-") as scratch, stage() as watch:
            verdict = asyncio.run(rehearse(Path(scratch), FAST if fast else DAY, watch))
    except PartFailed as failed:
        typer.echo(f"{NAME}: the drill could not be held: {failed}", err=True)
        raise typer.Exit(ExitCode.TROUBLE) from None
    _print(verdict)
    raise typer.Exit(ExitCode.FINE if verdict.is_good else ExitCode.TROUBLE)


def _print(verdict: "Verdict") -> None:
    from agent.cli.printing import print_values  # noqa: PLC0415 - keeps --help quick

    print_values("\nVerdict", {_WORDS[name]: value for name, value in asdict(verdict).items()})
    if verdict.is_good:
        typer.secho(f"\n{_KEPT}", bold=True, fg="green")
    else:
        typer.secho(f"\n{_BROKEN}: {_wrong(verdict)}.", bold=True, fg="red")


def _wrong(verdict: "Verdict") -> str:
    """Describe the counts that should be 0 and are not."""
    counts = {name: count for name, count in asdict(verdict).items() if count}
    parts = [f"{counts[name]:,} {_WORDS[name]}" for name in counts if name not in _GOOD]
    if verdict.acknowledged < verdict.captured:
        parts.insert(0, f"{verdict.captured - verdict.acknowledged:,} not acknowledged")
    return ", ".join(parts) or "no till was served"
