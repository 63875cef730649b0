"""Runs an outage: the chain trades, head office fails and recovers, every event is delivered."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sync.delivery.transports.auth import NoCredentials
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpOptions
from tests.fleet.account import Account
from tests.fleet.backlog import EPOCH, Backlog
from tests.fleet.network import Condition, Network, SimulatedClient
from tests.fleet.office import HeadOffice
from tests.fleet.store import SETTINGS, STARTED_AT, TILL, Store
from tests.support.virtual_time import run_in_virtual_time

# Head office accepts connections for this long without answering, as behind a recovering
# database; then it restarts, and all hanging requests fail in the same second.
HANGING_SECONDS = 30
_URL = "https://head-office.example"
_TICK_SECONDS = 0.1
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain and its outage.

    Each store captures an event every `capture_seconds`, during the outage and for
    `trading_seconds` after it, and sends `batch_events` at a time. `rate` is the number of events
    per second that head office admits.
    """

    stores: int
    rate: int
    outage_seconds: int
    trading_seconds: int
    condition: Condition = Condition.REFUSED
    capture_seconds: float = 30.0
    batch_events: int = SETTINGS.batch_events
    seed: int = 1
    timeout_seconds: int = 7_200

    @property
    def hangs(self) -> bool:
        """Return whether head office hangs before it recovers; it must be reachable for that."""
        return self.condition in {Condition.REFUSED, Condition.FAILING}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counters, and lost events: acknowledged to a till but missing at head office."""

    account: Account
    captured: int
    waiting_at_recovery: int
    undelivered: int
    lost: int


def outage_of(plan: Plan) -> Outcome:
    """Simulate the outage to its end."""
    return run_in_virtual_time(_scenario(plan))


async def _scenario(plan: Plan) -> Outcome:
    rng = random.Random(plan.seed)
    account = Account(recovered_at=plan.outage_seconds)
    office = HeadOffice(plan.rate, account)
    network = Network(office, account, rng.random)
    stores = [_store(number, network, plan, rng) for number in range(plan.stores)]
    network.change(plan.condition)
    async with delivering(stores):
        # All stores begin to fail in the same second: the worst case.
        for store in stores:
            store.capture()
        trading = asyncio.ensure_future(_trade(stores, plan, rng))
        await _recover(network, plan)
        waiting = sum(store.waiting for store in stores)
        await trading
        await until_all_is_delivered(stores, plan.timeout_seconds)
    return Outcome(
        account,
        captured=sum(store.backlog.captured for store in stores),
        waiting_at_recovery=waiting,
        undelivered=sum(store.waiting for store in stores),
        lost=sum(_lost(store.backlog, office, store.name) for store in stores),
    )


def _store(number: int, network: Network, plan: Plan, rng: random.Random) -> Store:
    name = f"{number:05}"
    http = SimulatedClient(network, name, HttpOptions(SETTINGS.timeout_seconds))
    client = CentralClient(http, _URL, NoCredentials(), lambda: STARTED_AT)
    return Store(name, client, rng.random, plan.batch_events)


@asynccontextmanager
async def delivering(stores: Sequence[Store]) -> AsyncIterator[None]:
    """Run the delivery of all stores until the block ends."""
    running = [asyncio.ensure_future(store.delivery.run()) for store in stores]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)


async def until_all_is_delivered(stores: Sequence[Store], timeout_seconds: float) -> None:
    """Wait until all outboxes are empty, up to `timeout_seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            while any(store.waiting for store in stores):  # noqa: ASYNC110 - polls all stores
                await asyncio.sleep(_LOOK_SECONDS)


async def _recover(network: Network, plan: Plan) -> None:
    hanging_seconds = HANGING_SECONDS if plan.hangs else 0
    await asyncio.sleep(plan.outage_seconds - hanging_seconds)
    if plan.hangs:
        network.change(Condition.HUNG)
        await asyncio.sleep(hanging_seconds)
    network.change(Condition.UP)


async def _trade(stores: Sequence[Store], plan: Plan, rng: random.Random) -> None:
    """Let each store capture in turn, in random order."""
    order = rng.sample(stores, len(stores))
    ticks = round((plan.outage_seconds + plan.trading_seconds) / _TICK_SECONDS)
    done = 0
    for tick in range(1, ticks + 1):
        await asyncio.sleep(_TICK_SECONDS)
        due = int(tick * _TICK_SECONDS * len(stores) / plan.capture_seconds)
        for number in range(done, due):
            order[number % len(order)].capture()
        done = due


def _lost(backlog: Backlog, office: HeadOffice, store_id: str) -> int:
    """Return the number of events that are missing or changed at head office."""
    epoch = office.ledgers[store_id].epochs.get((TILL, EPOCH))
    standing = {} if epoch is None else epoch.stored
    kept = sum(
        number in standing and standing[number].body.encode() == backlog.body(number)
        for number in range(1, backlog.captured + 1)
    )
    assert len(standing) <= backlog.captured, "more is there than was captured"
    return backlog.captured - kept
