"""Fleet benchmark: recovery of a whole chain after an outage of head office.

Simulated in virtual time, deterministic for a seed on every machine: `tests.fleet` lists its
real and simulated parts. In addition a few stores run in real time, with real HTTP, against a
real receiver.
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.fleet.account import Account
from tests.fleet.chain import Outcome, Plan, outage_of
from tests.fleet.network import Condition
from tests.fleet.small_fleet import SmallFleet, outage_of_fleet

STORES, RATE, OUTAGE_MINUTES = 10_000, 1_000, 30
TRADING_SECONDS = 300
# Stores in real time: a rate limit at which most of them have to retry.
EVENTS_EACH, FEW_RATE, FEW_OUTAGE_SECONDS = 40, 50, 10.0
MAX_RATE_RATIO = 2.0
FIRST_REQUEST_SECONDS = 120
OUTAGES = {
    "refused": Condition.REFUSED,
    "failing": Condition.FAILING,
    "silent": Condition.SILENT,
    "lines": Condition.NETWORK_DOWN,
}
_HEARTBEAT_SECONDS = 60


def measure_fleet(plans: Sequence[Plan]) -> bool:
    """Simulate and print each plan; return whether all targets were met."""
    kept_to = [simulate(plan) for plan in plans]
    return all(kept_to)


def simulate(plan: Plan) -> bool:
    """Simulate and print one plan; return whether its targets were met."""
    began = time.monotonic()
    outcome = outage_of(plan)
    print(f"\n{plan.stores:,} stores, head office down for {plan.outage_seconds / 60:.0f} min:")
    print(f"  {plan.condition}; it takes {plan.rate:,} events/s; seed {plan.seed}")
    for name, value in result_lines(plan, outcome):
        print(f"  {name:<48}{value}")
    print(f"  simulated in {time.monotonic() - began:.0f} s")
    return is_met(plan, outcome)


def measure_few(stores: int) -> bool:
    """Run a few stores in real time and print; return whether nothing was lost."""
    few = SmallFleet(stores, EVENTS_EACH, FEW_RATE, FEW_OUTAGE_SECONDS)
    with tempfile.TemporaryDirectory() as directory:
        outcome = asyncio.run(outage_of_fleet(few, Path(directory)))
    account = outcome.account
    print(f"\n{stores} stores with real HTTP against a real receiver, down for 10 s:")
    print(
        f"  {outcome.captured:,} events, {outcome.undelivered} not delivered, {outcome.lost} lost"
    )
    print(f"  peak of answers {format_peak(account.peak_requests, few.rate)}")
    print(f"  rejected {format_rejections(account)}, {account.too_early} before Retry-After")
    return not (outcome.undelivered or outcome.lost or account.too_early)


def is_met(plan: Plan, outcome: Outcome) -> bool:
    """Return whether an outcome meets the targets."""
    account, most = outcome.account, MAX_RATE_RATIO * plan.rate
    first_requests = account.first_after_seconds
    return (
        max(account.peak_requests, account.peak_events) <= most
        and len(first_requests) == plan.stores
        and max(first_requests.values()) <= FIRST_REQUEST_SECONDS
        and not account.too_early
        and not outcome.undelivered
        and not outcome.lost
    )


def result_lines(plan: Plan, outcome: Outcome) -> list[tuple[str, str]]:
    """Return names and values of the results."""
    account = outcome.account
    by_second = heartbeats(plan)
    return [
        ("events waiting at the end of the outage", f"{outcome.waiting_at_recovery:,}"),
        ("peak of requests, rejected ones included", format_peak(account.peak_requests, plan.rate)),
        ("peak of events accepted", format_peak(account.peak_events, plan.rate)),
        (
            "the last store's first request after",
            f"{last_store_seconds(account):.0f} s (target 120)",
        ),
        ("all delivered after", f"{account.last_delivered_after_seconds / 60:.1f} min"),
        ("events captured in all", f"{outcome.captured:,}"),
        ("not delivered, lost", f"{outcome.undelivered:,}, {outcome.lost:,}"),
        ("requests since the end of the outage", f"{account.requests.total():,}"),
        ("  of them rejected", format_rejections(account)),
        ("  of them before their Retry-After", f"{account.too_early:,}"),
        ("attempts in the last ten minutes of the outage", attempts(account)),
        ("heartbeats, not rate-limited", f"peak {max(by_second.values()):,} per second"),
    ]


def format_peak(peak: int, rate: int) -> str:
    """Format a peak and its ratio to the rate limit."""
    times = peak / rate
    return f"{peak:,} per second, {times:.2f} times the rate (target {MAX_RATE_RATIO:.0f})"


def last_store_seconds(account: Account) -> float:
    """Return the seconds until the last store's first request."""
    return max(account.first_after_seconds.values())


def format_rejections(account: Account) -> str:
    """Format the number of rejected requests and their Retry-After."""
    told = sorted(account.retry_after_seconds)
    if not told:
        return "0"
    middle, tail = told[len(told) // 2], told[len(told) * 99 // 100]
    return (
        f"{account.refused:,}; Retry-After {told[0]} to {told[-1]} s, median {middle}, p99 {tail}"
    )


def attempts(account: Account) -> str:
    """Format the peak of attempts at the end of the outage."""
    return f"peak {account.peak_attempts(600):,} per second"


def heartbeats(plan: Plan) -> Counter[int]:
    """Return the number of heartbeats in each second of a minute.

    Each agent sends one every minute from its own start on, also during the outage.
    """
    rng = random.Random(plan.seed)
    return Counter(int(rng.random() * _HEARTBEAT_SECONDS) for _ in range(plan.stores))


def plans_for(stores: int, rate: int, conditions: Sequence[Condition], seed: int) -> list[Plan]:
    """Return a plan for each condition, with an outage of half an hour."""
    return [
        Plan(stores, rate, OUTAGE_MINUTES * 60, TRADING_SECONDS, condition, seed=seed)
        for condition in conditions
    ]
