"""A chain that was kept waiting comes back without falling over head office."""

import pytest

from tests.fleet.chain import Outcome, Plan, outage_of
from tests.fleet.network import Condition

# As a chain of 10,000 at 1,000 events a second, each number a hundredth; five minutes are enough
# for all waits to be at their cap.
STORES, RATE, BATCH = 100, 10, 5
AWAYS = [Condition.REFUSED, Condition.SILENT]


def plan(condition: Condition) -> Plan:
    return Plan(
        STORES, RATE, away_seconds=300, trading_seconds=60, condition=condition, batch_events=BATCH
    )


@pytest.fixture(scope="module", params=AWAYS, ids=lambda condition: condition.name.lower())
def outcome(request: pytest.FixtureRequest) -> Outcome:
    return outage_of(plan(request.param))


def test_no_second_has_more_than_twice_as_many_requests_as_events_may_come(
    outcome: Outcome,
) -> None:
    assert outcome.account.peak_requests <= 2 * RATE


def test_no_second_has_more_than_twice_as_many_events_as_may_come(outcome: Outcome) -> None:
    assert outcome.account.peak_events <= 2 * RATE


def test_every_store_is_heard_within_two_minutes_of_the_return(outcome: Outcome) -> None:
    heard = outcome.account.first_after_seconds
    assert len(heard) == STORES
    assert max(heard.values()) <= 120


def test_no_store_comes_back_before_the_moment_it_was_told(outcome: Outcome) -> None:
    assert outcome.account.refused
    assert outcome.account.too_early == 0


def test_all_is_delivered_and_nothing_lost(outcome: Outcome) -> None:
    assert outcome.waiting_at_return > STORES
    assert (outcome.undelivered, outcome.lost) == (0, 0)


def test_head_office_that_is_away_is_not_stormed_meanwhile(outcome: Outcome) -> None:
    assert outcome.account.peak_knocks(last_seconds=120) <= 2 * RATE


def test_same_seed_tells_the_same_story() -> None:
    short = Plan(20, 5, away_seconds=60, trading_seconds=10)
    assert outage_of(short) == outage_of(short)
