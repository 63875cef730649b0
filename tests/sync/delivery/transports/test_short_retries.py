"""Short retries within a pass: number and time limit."""

import asyncio

import pytest

from sync.delivery.outcomes import FailureCause, RetryLater
from sync.delivery.transports.short_retries import MAX_ATTEMPTS, MAX_SECONDS, ShortRetries
from tests.support.virtual_time import run_in_virtual_time

SILENCE = RetryLater(FailureCause.NO_RESPONSE, "no answer in time")


@pytest.mark.parametrize(
    ("seconds", "times"), [(0.0, MAX_ATTEMPTS), (1.0, MAX_ATTEMPTS), (MAX_SECONDS, 1)]
)
def test_slow_failure_is_not_retried_in_the_same_pass(seconds: float, times: int) -> None:
    """A batch too large for a slow network must be halved, not repeated."""
    asked: list[float] = []

    async def ask() -> RetryLater:
        asked.append(seconds)
        await asyncio.sleep(seconds)
        return SILENCE

    assert run_in_virtual_time(ShortRetries(lambda: 0.5).run(ask)) == SILENCE
    assert len(asked) == times
