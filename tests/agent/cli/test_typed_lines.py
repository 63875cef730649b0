"""Lines that a person or a program types while a command runs."""

import asyncio
import os
import sys

import pytest

from agent.cli.typed_lines import typed_lines
from tests.support.patience import PATIENCE_SECONDS


@pytest.mark.parametrize("text", ["lost\nquit\n", "lost\nquit"])
async def test_last_line_counts_also_without_a_line_feed(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        async with asyncio.timeout(PATIENCE_SECONDS), typed_lines() as lines:
            assert [await lines.next() for _ in range(3)] == ["lost", "quit", None]
