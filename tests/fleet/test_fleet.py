"""After an outage, a chain does not overload the recovering head office."""

import pytest

from tests.fleet.chain import Outcome, Plan, outage_of
from tests.fleet.network import Condition

pytestmark = pytest.mark.slow

# Models a chain of 10,000 stores at 1,000 events a second, scaled down by 100; after five minutes
# all backoffs have reached their cap.
STORES, RATE, BATCH = 100, 10, 5
OUTAGES = [Condition.REFUSED, Condition.SILENT]


def plan(condition: Condition) -> Plan:
    return Plan(
        STORES,
        RATE,
        outage_seconds=300,
        trading_seconds=60,
        condition=condition,
        batch_events=BATCH,
    )


@pytest.fixture(scope="module", params=OUTAGES, ids=lambda condition: condition.name.lower())
def outcome(request: pytest.FixtureRequest) -> Outcome:
    return outage_of(plan(request.param))


def test_requests_per_second_stay_below_twice_the_event_rate(
    outcome: Outcome,
) -> None:
    assert outcome.account.peak_requests <= 2 * RATE


def test_accepted_events_per_second_stay_below_twice_the_rate_and_a_batch(
    outcome: Outcome,
) -> None:
    """The batch is the largest debt, which is spread so that one store turns no other away."""
    assert outcome.account.peak_events <= 2 * RATE + BATCH


def test_every_store_is_served_within_two_minutes_of_recovery(outcome: Outcome) -> None:
    heard = outcome.account.first_after_seconds
    assert len(heard) == STORES
    assert max(heard.values()) <= 120


def test_no_store_retries_before_its_retry_after(outcome: Outcome) -> None:
    assert outcome.account.refused
    assert outcome.account.too_early == 0


def test_backlog_is_delivered_without_loss(outcome: Outcome) -> None:
    assert outcome.waiting_at_recovery > STORES
    assert (outcome.undelivered, outcome.lost) == (0, 0)


def test_failed_attempts_during_outage_stay_below_twice_the_rate(outcome: Outcome) -> None:
    assert outcome.account.peak_attempts(last_seconds=120) <= 2 * RATE


def test_same_seed_gives_same_result() -> None:
    short = Plan(20, 5, outage_seconds=60, trading_seconds=10)
    assert outage_of(short) == outage_of(short)
