"""Print named values: as tables on a terminal, as plain lines in a pipe."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested values under dotted names, in order; empty mappings are dropped."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def print_values(title: str, values: Mapping[str, object]) -> None:
    """Print `values` as a table under `title` on a terminal, else as `name: value` lines."""
    shown = {_one_line(name): _text(value) for name, value in values.items()}
    if sys.stdout.isatty():
        if shown:
            _print_table(title, shown)
        return
    for name, text in shown.items():
        typer.echo(f"{name}: {text}")


def print_entries(title: str, entries: Sequence[Mapping[str, object]]) -> None:
    """Print entries with the same keys; in a pipe, one line each, separated by tabs.

    On a terminal the first two values of an entry, which fit any width, share a line; the
    others follow below it.
    """
    texts = [[_text(value) for value in entry.values()] for entry in entries]
    if not sys.stdout.isatty():
        for text in texts:
            typer.echo("\t".join(text))
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load, needed on a terminal only
    from rich.padding import Padding  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console()
    console.print(Text(title, style="bold"))
    for entry, (first, second, *others) in zip(entries, texts, strict=True):
        named = zip(list(entry)[2:], others, strict=True)
        below = ", ".join(f"{name}: {text}" for name, text in named)
        console.print(Text.assemble((first, "bold"), f"  {second}"), soft_wrap=True)
        console.print(Padding(Text(below), (0, 0, 0, 4)))


class Countdown:
    """Progress bar for a number of remaining items; shows nothing in a pipe.

    It appears once at least one item remains.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._most = 0
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        """Start the display."""
        from rich.progress import (  # noqa: PLC0415 - as above
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            disable=not sys.stdout.isatty(),
        )
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the display; the last state stays on the screen."""
        self._bar.stop()

    def show(self, left: int) -> None:
        """Update to `left` remaining items; the total grows if `left` exceeds it."""
        self._most = max(self._most, left)
        if self._task is None:
            if left == 0:
                return
            self._task = self._bar.add_task(self._title)
        self._bar.update(self._task, total=self._most, completed=self._most - left)


def _print_table(title: str, values: Mapping[str, str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to load, needed on a terminal only
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    # Rich would wrap a table title at the width of the table.
    typer.secho(title, bold=True)
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in values.items():
        # Text does not interpret square brackets in a value as markup.
        table.add_row(Text(name), Text(text))
    Console().print(table)


def in_one_line(value: object) -> str:
    """Return the printed form of `value`, without line breaks and control characters."""
    return _text(value)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return _one_line(json.dumps(value, ensure_ascii=False))
    return _one_line(str(value))


def _one_line(text: str) -> str:
    """Return `text` with unprintable characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
