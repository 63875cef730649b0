"""Random histories of tills, agents, store IT and head office break no promise.

A failure is printed as a list of steps, shrunk: add it to `test_found_histories.py`.
"""

import asyncio
import sys

import pytest

from tests.model.whole.campaign import run_histories
from tests.model.whole.generate import KINDS, histories
from tests.model.whole.history import Histories

HISTORIES, PARTS = 10_000, 2


@pytest.mark.slow
def test_random_histories_break_no_promise(on_sqlite: Histories) -> None:
    run_histories(on_sqlite, histories(KINDS), 200, seeded=21)


@pytest.mark.campaign
def test_random_histories_break_no_promise_on_postgresql(on_postgresql: Histories) -> None:
    run_histories(on_postgresql, histories(KINDS), 300, seeded=22)


@pytest.mark.campaign
async def test_ten_thousand_histories_break_no_promise() -> None:
    parts = [_part(number, HISTORIES // PARTS) for number in range(PARTS)]
    assert await asyncio.gather(*parts) == [""] * PARTS


async def _part(number: int, histories: int) -> str:
    """Run a part of the campaign in a process of its own; return the promises it breaks."""
    arguments = ("--seed", str(number), "--histories", str(histories))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.model.whole.campaign", *arguments, "--kinds", *KINDS),
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    return errors.decode()
