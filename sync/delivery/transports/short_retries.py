"""A few short retries within a pass; longer waits are the backoff between passes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, stop_after_delay

from sync.delivery.outcomes import FailureCause, RetryLater

MAX_ATTEMPTS = 3
# Time limit including the next wait. After it the pass ends and the next one starts with a probe.
MAX_SECONDS = 5.0
FIRST_WAIT_SECONDS = 0.1
_WORTH_IT = {FailureCause.NO_RESPONSE, FailureCause.OVERLOADED, FailureCause.SERVER_ERROR}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShortRetries:
    """Short retries with jittered doubling. `random` returns a random number, 0 to 1."""

    random: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Call `ask` until its outcome is not worth a short retry; return the last outcome.

        A cancel takes effect at once, also during a wait.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome = await ask()
        seconds_left = MAX_SECONDS - (loop.time() - began)
        if seconds_left <= 0 or not _may_pass_soon(outcome):
            return outcome
        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=stop_after_attempt(MAX_ATTEMPTS) | stop_after_delay(seconds_left),
            wait=self._wait_seconds,
            retry=lambda state: not state.outcome or _may_pass_soon(state.outcome.result()),
            retry_error_callback=_as_it_is,
        )
        return await retrying(_beginning_with(outcome, ask))

    def _wait_seconds(self, state: RetryCallState) -> float:
        return short_wait_seconds(_result(state), state.attempt_number, self.random())


def short_wait_seconds(outcome: object, attempts: int, share: float) -> float:
    """Return the jittered exponential wait in seconds after `attempts`, plus any Retry-After."""
    longest = FIRST_WAIT_SECONDS * 2.0**attempts
    jitter = longest * (1 + share) / 2
    asked = outcome.retry_after_seconds if isinstance(outcome, RetryLater) else None
    return jitter if asked is None else asked + jitter


def _may_pass_soon(outcome: object) -> bool:
    match outcome:
        case RetryLater(cause, retry_after_seconds=asked):
            return cause in _WORTH_IT and (asked or 0.0) <= MAX_SECONDS
        case _:
            return False


def _beginning_with(first: T, ask: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """Return an `ask` that first yields the known outcome: most calls never start tenacity."""
    known = [first]

    async def next_outcome() -> T:
        return known.pop() if known else await ask()

    return next_outcome


def _result(state: RetryCallState) -> object:
    return state.outcome.result() if state.outcome is not None else None


def _as_it_is(state: RetryCallState) -> object:
    return _result(state)
