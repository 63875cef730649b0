"""The command that rehearses a day, and how it is shown."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.arguments import NAME, ExitCode

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agent.drill.day import Scene, Watch
    from agent.drill.verdict import Verdict

_WORDS = {
    "captured": "asked for by the tills",
    "acknowledged": "acknowledged to them",
    "at_head_office": "at head office",
    "lost": "lost",
    "doubled": "doubled",
    "changed": "changed",
    "out_of_order": "out of order",
}


def drill(
    *, fast: Annotated[bool, typer.Option("--fast", help="Take seconds, not a minute.")] = False
) -> None:
    """Rehearse a day with real parts, and judge it.

    In a scratch directory: an agent, a receiver, three tills; the line is cut, the agent
    crashes, the line comes back. Nothing of this machine's own agent is touched. The exit code
    is 1 when a promise is broken.
    """
    import asyncio  # noqa: PLC0415 - keeps --help quick

    from agent.drill.day import DAY, FAST, rehearse  # noqa: PLC0415 - as above
    from agent.drill.parts import PartFailed  # noqa: PLC0415 - as above

    try:
        with tempfile.TemporaryDirectory(prefix="loyalty-drill-") as scratch, _stage() as watch:
            verdict = asyncio.run(rehearse(Path(scratch), FAST if fast else DAY, watch))
    except PartFailed as failed:
        typer.echo(f"{NAME}: the drill could not be held: {failed}", err=True)
        raise typer.Exit(ExitCode.TROUBLE) from None
    _print(verdict)
    raise typer.Exit(ExitCode.FINE if verdict.is_good else ExitCode.TROUBLE)


@contextmanager
def _stage() -> Iterator["Watch"]:
    """Give what shows a scene: live on a terminal, one line an act in a pipe."""
    if not sys.stdout.isatty():
        yield _Lines().show
        return
    from rich.live import Live  # noqa: PLC0415 - slow to load, needed on a terminal only

    with Live(refresh_per_second=8) as live:
        yield lambda scene: live.update(_picture(scene))


class _Lines:
    """Prints each act once."""

    def __init__(self) -> None:
        self._printed = 0

    def show(self, scene: "Scene") -> None:
        for act in scene.acts[self._printed :]:
            typer.echo(act)
        self._printed = len(scene.acts)


def _picture(scene: "Scene") -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    acts = [Text(f"  {act}", style="dim") for act in scene.acts[:-1]]
    now = [Text(f"> {act}", style="bold") for act in scene.acts[-1:]]
    waiting = max(0, scene.acknowledged - scene.at_head_office)
    numbers = Text(
        f"\n  acknowledged {scene.acknowledged:>6,}   at head office {scene.at_head_office:>6,}"
        f"   on the way {waiting:>6,}\n"
    )
    return Group(*acts, *now, numbers)


def _print(verdict: "Verdict") -> None:
    from agent.cli.printing import print_values  # noqa: PLC0415 - as above

    values = {_WORDS[name]: value for name, value in asdict(verdict).items()}
    values["verdict"] = "every promise was kept" if verdict.is_good else "A PROMISE WAS BROKEN"
    print_values("Verdict", values)
