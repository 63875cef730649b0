"""Row counter for long commands, shown on a terminal only."""

import sys
from typing import Self


class Counter:
    """Displays progress on standard error; standard output is left to the result."""

    def __init__(self, title: str) -> None:
        self._title = title

    def __enter__(self) -> Self:
        """Start the display."""
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
        """Stop the display; the last state stays on the screen."""
        self._progress.stop()

    def show(self, rows: int, store_id: str) -> None:
        """Add `rows` to the count; `store_id` is the store of the last row."""
        self._progress.update(self._task, advance=rows, store=store_id)
