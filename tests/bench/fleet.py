"""Changes when what is measured of a whole chain changes: its return after an outage.

Counted in virtual time, the same for a seed on every machine: what is real and what simulated in
it stands in `tests.fleet`. Beside it a few stores in real time, with real HTTP, against a real
receiver.
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
from tests.fleet.few import Few, outage_of_few
from tests.fleet.network import Condition

STORES, RATE, AWAY_MINUTES = 10_000, 1_000, 30
TRADING_SECONDS = 300
# Those in real time: a rate at which most of them have to come again.
EVENTS_EACH, RATE_OF_FEW, AWAY_SECONDS_OF_FEW = 40, 50, 10.0
MOST_TIMES_THE_RATE = 2.0
FIRST_REQUEST_SECONDS = 120
AWAYS = {
    "refused": Condition.REFUSED,
    "failing": Condition.FAILING,
    "silent": Condition.SILENT,
    "lines": Condition.NO_WAY,
}
_CONTACT_SECONDS = 60


def measure_fleet(plans: Sequence[Plan]) -> bool:
    """Tell each story and print its account; return whether each kept to the targets."""
    kept_to = [tell(plan) for plan in plans]
    return all(kept_to)


def tell(plan: Plan) -> bool:
    """Tell one story; return whether it kept to the targets."""
    began = time.monotonic()
    outcome = outage_of(plan)
    print(f"\n{plan.stores:,} stores, head office away for {plan.away_seconds / 60:.0f} min:")
    print(f"  {plan.condition}; it takes {plan.rate:,} events/s; seed {plan.seed}")
    for name, value in lines(plan, outcome):
        print(f"  {name:<48}{value}")
    print(f"  told in {time.monotonic() - began:.0f} s")
    return is_met(plan, outcome)


def measure_few(stores: int) -> bool:
    """Have a few stores deliver in real time, and print; return whether nothing was lost."""
    few = Few(stores, EVENTS_EACH, RATE_OF_FEW, AWAY_SECONDS_OF_FEW)
    with tempfile.TemporaryDirectory() as directory:
        outcome = asyncio.run(outage_of_few(few, Path(directory)))
    account = outcome.account
    print(f"\n{stores} stores with real HTTP against a real receiver, away for 10 s:")
    print(
        f"  {outcome.captured:,} events, {outcome.undelivered} not delivered, {outcome.lost} lost"
    )
    print(f"  peak of answers {of_rate(account.peak_requests, few.rate)}")
    print(f"  refused {refusals(account)}; {account.too_early} came before that moment")
    return not (outcome.undelivered or outcome.lost or account.too_early)


def is_met(plan: Plan, outcome: Outcome) -> bool:
    """Tell whether a story kept to the targets."""
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
    """Return what was counted, each with its name."""
    account = outcome.account
    beats = heartbeats(plan)
    return [
        ("events waiting at the return", f"{outcome.waiting_at_return:,}"),
        ("peak of requests, refused ones too", of_rate(account.peak_requests, plan.rate)),
        ("peak of events accepted", of_rate(account.peak_events, plan.rate)),
        ("the last store's first request after", f"{last(account):.0f} s (target 120)"),
        ("delivered after", f"{account.last_delivered_after_seconds / 60:.1f} min"),
        ("events captured in all", f"{outcome.captured:,}"),
        ("not delivered, lost", f"{outcome.undelivered:,}, {outcome.lost:,}"),
        ("requests since the return", f"{account.requests.total():,}"),
        ("  of them refused", refusals(account)),
        ("  of them before the moment they were told", f"{account.too_early:,}"),
        ("tries in the last ten minutes of the outage", knocks(account)),
        ("heartbeats, beside all this and not limited", f"peak {max(beats.values()):,} a second"),
    ]


def of_rate(peak: int, rate: int) -> str:
    """Show a peak beside the rate."""
    times = peak / rate
    return f"{peak:,} a second, {times:.2f} times the rate (target {MOST_TIMES_THE_RATE:.0f})"


def last(account: Account) -> float:
    """Return when the last store's first request came."""
    return max(account.first_after_seconds.values())


def refusals(account: Account) -> str:
    """Show how many were refused, and what they were told."""
    told = sorted(account.told_seconds)
    if not told:
        return "0"
    middle, tail = told[len(told) // 2], told[len(told) * 99 // 100]
    return (
        f"{account.refused:,}; Retry-After {told[0]} to {told[-1]} s, median {middle}, p99 {tail}"
    )


def knocks(account: Account) -> str:
    """Show how hard head office was tried while it was away."""
    return f"peak {account.peak_knocks(600):,} a second"


def heartbeats(plan: Plan) -> Counter[int]:
    """Return how many agents tell in each second of a minute how they are.

    Each does so every minute from its own start on, also while head office is away.
    """
    dice = random.Random(plan.seed)
    return Counter(int(dice.random() * _CONTACT_SECONDS) for _ in range(plan.stores))


def plans_for(stores: int, rate: int, conditions: Sequence[Condition], seed: int) -> list[Plan]:
    """Return the stories of an outage of half an hour."""
    return [
        Plan(stores, rate, AWAY_MINUTES * 60, TRADING_SECONDS, condition, seed=seed)
        for condition in conditions
    ]
