"""Display of a running drill: live on a terminal, one line per step in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from agent.drill.scenario import Progress, ShowProgress

_BAR_WIDTH = 40
_UPDATES_PER_SECOND = 8


@contextmanager
def progress_display() -> Iterator[ShowProgress]:
    """Yield a function that displays the progress of a drill."""
    if not sys.stdout.isatty():
        yield _LinePrinter().show
        return
    with Live(refresh_per_second=_UPDATES_PER_SECOND) as live:
        yield lambda progress: live.update(live_view(progress))


class _LinePrinter:
    """Prints each step once, as it begins."""

    def __init__(self) -> None:
        self._printed = 0

    def show(self, progress: Progress) -> None:
        for step in progress.steps[self._printed :]:
            typer.echo(step)
        self._printed = len(progress.steps)


def live_view(progress: Progress) -> RenderableType:
    """Return the live view: steps, bar of delivered captures, counts."""
    done = [Text(f"  {step}", style="dim") for step in progress.steps[:-1]]
    current = [Text(f"> {step}", style="bold") for step in progress.steps[-1:]]
    return Group(*done, *current, Text(), _bar(progress), _counts(progress))


def _bar(progress: Progress) -> RenderableType:
    delivered = progress.interim.at_head_office
    total = max(1, progress.interim.acknowledged)
    bar = ProgressBar(total, delivered, width=_BAR_WIDTH)
    return Columns(["  at head office", bar, f"{delivered:,}"])


def _counts(progress: Progress) -> RenderableType:
    interim = progress.interim
    faults = interim.faults - interim.lost
    return Text.assemble(
        f"  acknowledged {interim.acknowledged:,}   in flight {interim.lost:,}"
        f"   retries {progress.retries:,}\n  ",
        (
            f"duplicated {interim.duplicated:,}   out of order {interim.out_of_order:,}",
            "bold red" if faults else "green",
        ),
    )
