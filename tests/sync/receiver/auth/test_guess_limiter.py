"""The wait after wrong tokens."""

import pytest

from sync.receiver.auth import guess_limiter
from sync.receiver.auth.guess_limiter import GuessLimiter

PEER = "198.51.100.7"


class Clock:
    """A monotonic clock that moves by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> GuessLimiter:
    return GuessLimiter(clock, b"key")


def test_peer_without_a_wrong_token_does_not_wait(limiter: GuessLimiter) -> None:
    assert limiter.wait_seconds(PEER) == 0


def test_wait_doubles_with_each_wrong_token_up_to_half_a_minute(
    limiter: GuessLimiter, clock: Clock
) -> None:
    waits = []
    for number in range(8):
        limiter.record_failure(PEER, f"wrong-{number}")
        waits.append(limiter.wait_seconds(PEER))
        clock.seconds += waits[-1]
        assert limiter.wait_seconds(PEER) == 0

    assert waits == [1, 2, 4, 8, 16, 32, 32, 32]


def test_same_wrong_token_again_counts_once(limiter: GuessLimiter, clock: Clock) -> None:
    """A scraper with an old token must not keep one with the right token out for long."""
    for _ in range(100):
        limiter.record_failure(PEER, "old")
        clock.seconds += 15

    assert limiter.wait_seconds(PEER) == 0
    limiter.record_failure(PEER, "other")
    assert limiter.wait_seconds(PEER) == 2


def test_wait_begins_again_after_a_quiet_time(limiter: GuessLimiter, clock: Clock) -> None:
    for number in range(5):
        limiter.record_failure(PEER, f"wrong-{number}")
    clock.seconds += 901

    limiter.record_failure(PEER, "wrong")

    assert limiter.wait_seconds(PEER) == 1


def test_each_peer_waits_for_its_own_wrong_tokens(limiter: GuessLimiter) -> None:
    limiter.record_failure(PEER, "wrong")

    assert limiter.wait_seconds("198.51.100.8") == 0


def test_all_addresses_of_an_ipv6_customer_are_one_peer(limiter: GuessLimiter) -> None:
    limiter.record_failure("2001:db8:0:7::1", "wrong")

    assert limiter.wait_seconds("2001:db8:0:7:ffff::2") == 1
    assert limiter.wait_seconds("2001:db8:0:8::1") == 0


def test_memory_is_bounded_for_any_number_of_peers(
    limiter: GuessLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guess_limiter, "_MAX_PEERS", 10)
    for number in range(100):
        limiter.record_failure(f"peer-{number}", "wrong")

    waiting = [limiter.wait_seconds(f"peer-{number}") for number in range(100)]

    assert waiting == [0] * 90 + [1] * 10
