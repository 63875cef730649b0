"""Spinner that shows the current step of a long command, on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watching(first: str) -> Iterator[Callable[[str], None]]:
    """Yield a function that displays the current step, starting with `first`; a no-op in a pipe."""
    if not sys.stdout.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to load, needed on a terminal only

    with Console().status(f"Looking at {first}") as status:
        yield lambda step: status.update(f"Looking at {step}")
