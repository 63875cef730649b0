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

STORES, RATE, AWAY_MINUTES = 10_000, 1_000, 30
TRADING_SECONDS = 300
# Stores in real time: a rate limit at which most of them have to retry.
EVENTS_EACH, RATE_OF_FEW, AWAY_SECONDS_OF_FEW = 40, 50, 10.0
MOST_TIMES_THE_RATE = 2.0
FIRST_REQUEST_SECONDS = 120
AWAYS = {
    "refused": Condition.REFUSED,
    "failing": Condition.FAILING,
    "silent": Condition.SILENT,
    "lines": Condition.NETWORK_DOWN,
}
_CONTACT_SECONDS = 60


def measure_fleet(plans: Sequence[Plan]) -> bool:
    """Simulate and print each plan; return whether all targets were met."""
    kept_to = [tell(plan) for plan in plans]
    return all(kept_to)


def tell(plan: Plan) -> bool:
    """Simulate and print one plan; return whether its targets were met."""
    began = time.monotonic()
    outcome = outage_of(plan)
    print(f"\n{plan.stores:,} stores, head office away for {plan.outage_seconds / 60:.0f} min:")
    print(f"  {plan.condition}; it takes {plan.rate:,} events/s; seed {plan.seed}")
    for name, value in lines(plan, outcome):
        print(f"  {name:<48}{value}")
    print(f"  told in {time.monotonic() - began:.0f} s")
    return is_met(plan, outcome)


def measure_few(stores: int) -> bool:
    """Run a few stores in real time and print; return whether nothing was lost."""
    few = SmallFleet(stores, EVENTS_EACH, RATE_OF_FEW, AWAY_SECONDS_OF_FEW)
    with tempfile.TemporaryDirectory() as directory:
        outcome = asyncio.run(outage_of_fleet(few, Path(directory)))
    account = outcome.account
    print(f"\n{stores} stores with real HTTP against a real receiver, away for 10 s:")
    print(
        f"  {outcome.captured:,} events, {outcome.undelivered} not delivered, {outcome.lost} lost"
    )
    print(f"  peak of answers {of_rate(account.peak_requests, few.rate)}")
    print(f"  refused {refusals(account)}; {account.too_early} came before that moment")
    return not (outcome.undelivered or outcome.lost or account.too_early)


def is_met(plan: Plan, outcome: Outcome) -> bool:
    """Return whether an outcome meets the targets."""
    account, most = outcome.account, MOST_TIMES_THE_RATE * plan.rate
    heard = account.first_after_seconds
    return (
        max(account.peak_requests, account.peak_events) <= most
        and len(heard) == plan.stores
        and max(heard.values()) <= FIRST_REQUEST_SECONDS
        and not account.too_early
        and not outcome.undelivered
        and not outcome.lost
    )


def lines(plan: Plan, outcome: Outcome) -> list[tuple[str, str]]:
    """Return names and values of the results."""
    account = outcome.account
    beats = heartbeats(plan)
    return [
        ("events waiting at the return", f"{outcome.waiting_at_recovery:,}"),
        ("peak of requests, refused ones too", of_rate(account.peak_requests, plan.rate)),
        ("peak of events accepted", of_rate(account.peak_events, plan.rate)),
        ("the last store's first request after", f"{last(account):.0f} s (target 120)"),
        ("delivered after", f"{account.last_delivered_after_seconds / 60:.1f} min"),
        ("events captured in all", f"{outcome.captured:,}"),
        ("not delivered, lost", f"{outcome.undelivered:,}, {outcome.lost:,}"),
        ("requests since the return", f"{account.requests.total():,}"),
        ("  of them refused", refusals(account)),
        ("  of them before the moment they were told", f"{account.too_early:,}"),
        ("tries in the last ten minutes of the outage", attempts(account)),
        ("heartbeats, beside all this and not limited", f"peak {max(beats.values()):,} a second"),
    ]


def of_rate(peak: int, rate: int) -> str:
    """Format a peak and its ratio to the rate limit."""
    times = peak / rate
    return f"{peak:,} a second, {times:.2f} times the rate (target {MOST_TIMES_THE_RATE:.0f})"


def last(account: Account) -> float:
    """Return the seconds until the last store's first request."""
    return max(account.first_after_seconds.values())


def refusals(account: Account) -> str:
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
    return f"peak {account.peak_attempts(600):,} a second"


def heartbeats(plan: Plan) -> Counter[int]:
    """Return the number of heartbeats in each second of a minute.

    Each agent sends one every minute from its own start on, also during the outage.
    """
    dice = random.Random(plan.seed)
    return Counter(int(dice.random() * _CONTACT_SECONDS) for _ in range(plan.stores))


def plans_for(stores: int, rate: int, conditions: Sequence[Condition], seed: int) -> list[Plan]:
    """Return a plan for each condition, with an outage of half an hour."""
    return [
        Plan(stores, rate, AWAY_MINUTES * 60, TRADING_SECONDS, condition, seed=seed)
        for condition in conditions
    ]
