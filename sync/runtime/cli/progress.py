"""Progress of long commands: shown on a terminal, silent in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sync.runtime.cli.printing import sharing_terminal
from sync.runtime.cli.translation import in_language
from sync.runtime.printable import printable


@contextmanager
def current_step(first: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that displays the current step, starting with `first`."""
    if not sys.stdout.isatty():
        yield lambda _: None
        return
    with Console().status(in_language(first)) as status, sharing_terminal():
        yield lambda step: status.update(in_language(step))


@contextmanager
def countdown(title: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows the number of remaining items as a bar.

    The bar appears once at least one item remains; its total grows with the number of items.
    """
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not sys.stdout.isatty(),
    )
    task = progress.add_task(in_language(title), total=0, visible=False)

    def show(remaining: int) -> None:
        total = max(progress.tasks[0].total or 0, remaining)
        progress.update(task, total=total, completed=total - remaining, visible=total > 0)

    with progress, sharing_terminal():
        yield show


@contextmanager
def row_counter(title: str, *, is_printing: bool) -> Iterator[Callable[[int, str], None]]:
    """Yield a function that adds rows and shows their store.

    Displays on standard error. Silent if the rows are printed (`is_printing`) on the same terminal:
    the display would overwrite them.
    """
    is_overwriting = is_printing and sys.stdout.isatty()
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f} rows, store {task.fields[store]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=is_overwriting or not sys.stderr.isatty(),
    )
    task = progress.add_task(title, total=None, store="-")
    with progress:
        yield lambda rows, store_id: progress.update(
            task, advance=rows, store=escape(printable(store_id))
        )
