"""Live view of a drill."""

import io

from rich.console import Console

from agent.cli.drill_view import picture
from agent.drill.day import Scene
from agent.drill.verdict import Verdict
from tests.support.terminal import COLUMNS


def test_large_counts_fit_the_width_of_a_terminal() -> None:
    verdict = Verdict(1_234_567, 1_234_567, 1_200_000, 34_567, doubled=12, out_of_order=34)
    console = Console(file=io.StringIO(), width=COLUMNS)

    console.print(picture(Scene(["the line is cut"], 123_456, verdict)))

    *_, counts, wrong = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert counts.split() == [
        *("acknowledged", "1,234,567", "on", "the", "way", "34,567", "asked", "again", "123,456")
    ]
    assert wrong.split() == ["doubled", "12", "out", "of", "order", "34"]
