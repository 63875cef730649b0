"""A few short retries within a pass; longer waits are the backoff between passes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from sync.delivery.outcomes import FailureCause, RetryLater

MAX_ATTEMPTS = 3
# Time limit without the last wait. After it the pass ends and the next one starts with a probe.
MAX_SECONDS = 5.0
_FIRST_WAIT_SECONDS = 0.2
_RETRIED = {FailureCause.NO_RESPONSE, FailureCause.OVERLOADED, FailureCause.SERVER_ERROR}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShortRetries:
    """Short retries with jittered doubling. `random` returns a random number, 0 to 1."""

    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call `attempt` until its outcome is not worth a short retry; return the last outcome.

        A cancel takes effect at once, also during a wait.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MAX_SECONDS
        # The first attempt goes without tenacity: most need no retry, and it takes 40 us a call.
        outcome = await attempt()
        if not _is_worth_a_retry(outcome) or loop.time() >= deadline:
            return outcome
        await self.sleep(self._wait_seconds(outcome, attempts=1))
        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=lambda state: state.attempt_number + 1 >= MAX_ATTEMPTS or loop.time() >= deadline,
            wait=lambda state: self._wait_seconds(_outcome(state), state.attempt_number + 1),
            retry=retry_if_result(_is_worth_a_retry),
            retry_error_callback=_outcome,
        )
        return await retrying(attempt)

    def _wait_seconds(self, outcome: object, attempts: int) -> float:
        """Return the jittered exponential wait after `attempts`, plus any Retry-After."""
        longest = _FIRST_WAIT_SECONDS * 2.0 ** (attempts - 1)
        jittered = longest * (1 + self.random()) / 2
        asked = outcome.retry_after_seconds if isinstance(outcome, RetryLater) else None
        return jittered + (asked or 0.0)


def _is_worth_a_retry(outcome: object) -> bool:
    return (
        isinstance(outcome, RetryLater)
        and outcome.cause in _RETRIED
        and (outcome.retry_after_seconds or 0.0) <= MAX_SECONDS
    )


def _outcome(state: RetryCallState) -> object:
    return state.outcome.result() if state.outcome is not None else None
