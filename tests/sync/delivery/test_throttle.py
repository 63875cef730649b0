"""Throttling of a backlog: pauses, full speed, bandwidth limit."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from sync.delivery.throttle import (
    FULL_SPEED_TILLS_PAUSE_SECONDS,
    PAUSE_SECONDS,
    TILLS_ACTIVE_SECONDS,
    TILLS_PAUSE_SECONDS,
    Throttle,
)
from tests.support.virtual_time import run_in_virtual_time

sizes = st.lists(st.integers(0, 10_000_000), max_size=20)
bandwidths = st.integers(1, 10**9)


class Sleeps:
    """A fake sleep that takes no time and records the seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def pauses(
    sent: list[int], bandwidth_bytes_per_second: int = 0, *, hurries: bool = False
) -> list[float]:
    """Return the pause after each window of these sizes."""
    sleeps = Sleeps()
    throttle = Throttle(bandwidth_bytes_per_second, sleeps)
    if hurries:
        throttle.is_full_speed = True

    async def pass_by() -> None:
        for size in sent:
            await throttle.pause(size, more=True)

    asyncio.run(pass_by())
    return sleeps.seconds


@given(sent=sizes)
def test_backlog_pauses_after_each_window(sent: list[int]) -> None:
    assert pauses(sent) == [PAUSE_SECONDS] * len(sent)


@given(sent=sizes)
def test_full_speed_skips_the_pauses(sent: list[int]) -> None:
    assert pauses(sent, hurries=True) == [0.0] * len(sent)


@given(sent=sizes, bandwidth=bandwidths, hurries=st.booleans())
def test_bandwidth_limit_holds_at_full_speed(
    sent: list[int],
    bandwidth: int,
    hurries: bool,  # noqa: FBT001 - drawn
) -> None:
    seconds = pauses(sent, bandwidth, hurries=hurries)
    assert sum(seconds) >= sum(sent) / bandwidth - 1e-6
    assert len(seconds) == len(sent)


@given(sent=sizes, bandwidth=bandwidths)
def test_bandwidth_limit_never_shortens_a_pause(sent: list[int], bandwidth: int) -> None:
    assert all(seconds >= PAUSE_SECONDS for seconds in pauses(sent, bandwidth))


async def test_pauses_resume_after_full_speed() -> None:
    sleeps = Sleeps()
    throttle = Throttle(sleep=sleeps)
    throttle.is_full_speed = True
    await throttle.pause(1, more=True)
    throttle.is_full_speed = False
    await throttle.pause(1, more=True)
    assert sleeps.seconds == [0.0, PAUSE_SECONDS]


async def paused_after(seconds: float, *, hurries: bool = False) -> float:
    """Return the pause after a window that ends `seconds` after a till was served."""
    sleeps = Sleeps()
    throttle = Throttle(sleep=sleeps)
    if hurries:
        throttle.is_full_speed = True
    throttle.yield_to_tills()
    await asyncio.sleep(seconds)
    await throttle.pause(1, more=True)
    return sleeps.seconds[0]


def test_backlog_yields_to_active_tills() -> None:
    assert run_in_virtual_time(paused_after(0.0)) == TILLS_PAUSE_SECONDS
    assert run_in_virtual_time(paused_after(TILLS_ACTIVE_SECONDS)) == PAUSE_SECONDS


def test_full_speed_yields_to_active_tills_briefly() -> None:
    beside = run_in_virtual_time(paused_after(0.0, hurries=True))
    assert beside == FULL_SPEED_TILLS_PAUSE_SECONDS
    assert run_in_virtual_time(paused_after(TILLS_ACTIVE_SECONDS, hurries=True)) == 0.0


def test_last_window_is_followed_by_the_bandwidth_pause_only() -> None:
    async def paused() -> list[float]:
        sleeps = Sleeps()
        throttle = Throttle(10, sleeps)
        throttle.yield_to_tills()
        await throttle.pause(1, more=False)
        return sleeps.seconds

    assert run_in_virtual_time(paused()) == [0.1]
