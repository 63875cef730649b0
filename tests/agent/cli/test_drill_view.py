"""Live view of a drill."""

import io

from rich.console import Console

from agent.cli.drill_view import live_view
from agent.drill.result import DrillResult
from agent.drill.scenario import Progress
from tests.support.terminal import COLUMNS


def test_large_counts_fit_the_width_of_a_terminal() -> None:
    result = DrillResult(1_234_567, 1_234_567, 1_200_000, 34_567, duplicated=12, out_of_order=34)
    console = Console(file=io.StringIO(), width=COLUMNS)

    console.print(live_view(Progress(["the line is cut"], 123_456, result)))

    *_, counts, wrong = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert counts.split() == [
        *("acknowledged", "1,234,567", "in", "flight", "34,567", "retries", "123,456")
    ]
    assert wrong.split() == ["duplicated", "12", "out", "of", "order", "34"]
