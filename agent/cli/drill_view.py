"""Display of a running drill: live on a terminal, one line per act in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agent.drill.day import Scene, Watch

_BAR_WIDTH = 40
_PICTURES_PER_SECOND = 8


@contextmanager
def stage() -> Iterator["Watch"]:
    """Yield a function that displays a scene."""
    if not sys.stdout.isatty():
        yield _Lines().show
        return
    from rich.live import Live  # noqa: PLC0415 - slow to load, needed on a terminal only

    with Live(refresh_per_second=_PICTURES_PER_SECOND) as live:
        yield lambda scene: live.update(picture(scene))


class _Lines:
    """Prints each act once, as it appears."""

    def __init__(self) -> None:
        self._printed = 0

    def show(self, scene: "Scene") -> None:
        for act in scene.acts[self._printed :]:
            typer.echo(act)
        self._printed = len(scene.acts)


def picture(scene: "Scene") -> "RenderableType":
    """Return the live view of a scene."""
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    acts = [Text(f"  {act}", style="dim") for act in scene.acts[:-1]]
    now = [Text(f"> {act}", style="bold") for act in scene.acts[-1:]]
    return Group(*acts, *now, Text(), _bar(scene), _numbers(scene))


def _bar(scene: "Scene") -> "RenderableType":
    from rich.columns import Columns  # noqa: PLC0415 - as above
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above

    so_far = scene.so_far
    bar = ProgressBar(max(1, so_far.acknowledged), so_far.at_head_office, width=_BAR_WIDTH)
    return Columns(["  at head office", bar, f"{so_far.at_head_office:,}"])


def _numbers(scene: "Scene") -> "RenderableType":
    from rich.text import Text  # noqa: PLC0415 - as above

    so_far = scene.so_far
    wrong = so_far.doubled + so_far.foreign + so_far.changed + so_far.out_of_order
    return Text.assemble(
        f"  acknowledged {so_far.acknowledged:,}   on the way {so_far.lost:,}"
        f"   asked again {scene.repeats:,}\n  ",
        (f"doubled {so_far.doubled:,}   out of order {so_far.out_of_order:,}", _style(wrong)),
    )


def _style(wrong: int) -> str:
    return "bold red" if wrong else "green"
