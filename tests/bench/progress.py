"""Progress line of a benchmark, on a terminal only."""

import sys

from tests.bench.figures import Turn


class Progress:
    """Counts turns up to a known total."""

    def __init__(self, turns: int) -> None:
        self._turns = turns
        self._taken = 0

    def took(self, turn: Turn) -> Turn:
        """Count and return a turn; wrong answers are always printed immediately."""
        self._taken += 1
        self._show(
            f"[{self._taken}/{self._turns}] {turn.disk} disk, {turn.connections} connections,"
            f" {turn.server}: {turn.pairs_per_second:.0f} pairs/s"
        )
        if turn.load.failures:
            print(f"\nfailure: {turn.server}: {turn.load.failures[0]}", file=sys.stderr)
        return turn

    def done(self) -> None:
        """Clear the line."""
        self._show("")

    def _show(self, line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
