"""Shows on a terminal how many rows are done; nothing in a pipe."""

import sys
from typing import Self


class Counter:
    """Counts on standard error, so that the result can go to standard output."""

    def __init__(self, title: str) -> None:
        self._title = title

    def __enter__(self) -> Self:
        """Begin to show."""
        from rich.console import Console  # noqa: PLC0415 - slow to load, needed by few commands
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - as above

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description} {task.completed:,.0f} rows, store {task.fields[store]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._progress.start()
        self._task = self._progress.add_task(self._title, total=None, store="-")
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()

    def show(self, rows: int, store_id: str) -> None:
        """Take note of more rows, the last of them of this store."""
        self._progress.update(self._task, advance=rows, store=store_id)
