"""The story of an outage: a chain trades, head office is away and comes back, all is delivered."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.config.delivery import SyncSettings
from sync.outbox import Portion
from sync.pace import Pacer
from sync.relay import Relay, RelayRules
from sync.retry import RetryRules, slot_of
from sync.transports.attempts import Attempts
from sync.transports.auth import NoCredentials
from sync.transports.batch import BatchTransport
from sync.transports.caller import Caller
from sync.transports.http import LineRules
from sync.transports.sender import Sender
from tests.fleet.account import Account
from tests.fleet.backlog import BOOT, EPOCH, Backlog
from tests.fleet.network import Condition, Network, StoreLine
from tests.fleet.office import HeadOffice
from tests.sync.virtual_time import run_in_virtual_time

TILL = "till-1"
# Head office comes up and hangs for so long, as behind a database that recovers; then it is
# started anew, and whoever hung in it fails in the same second.
HANGING_SECONDS = 30
_URL = "https://head-office.example"
_STARTED_AT = datetime(2026, 3, 4, tzinfo=UTC)
_TICK_SECONDS = 0.1
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain and its outage.

    Each store captures an event every `capture_seconds`, while head office is away and for
    `trading_seconds` after its return, and sends `batch_events` at a time. `rate`: the events a
    second that head office takes.
    """

    stores: int
    rate: int
    away_seconds: int
    trading_seconds: int
    condition: Condition = Condition.REFUSED
    capture_seconds: float = 30.0
    batch_events: int = SyncSettings().batch_events
    seed: int = 1
    patience_seconds: int = 7_200

    @property
    def hangs(self) -> bool:
        """Whether head office comes back by way of a hang: where it can be reached at all."""
        return self.condition in {Condition.REFUSED, Condition.FAILING}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was counted, and what was lost: events acknowledged to a till and not at head office."""

    account: Account
    captured: int
    waiting_at_return: int
    undelivered: int
    lost: int


@dataclass(slots=True)
class Moment:
    """A reading of the clocks."""

    wall_us: int
    monotonic_us: int


class Store:
    """A store's agent from its outbox to its line, put together as `agent.delivery` does."""

    def __init__(
        self, number: int, network: Network, dice: Callable[[], float], batch_events: int
    ) -> None:
        settings = SyncSettings()
        self.name = f"{number:05}"
        self.backlog = Backlog(self.name)
        line = StoreLine(network, self.name, LineRules(settings.timeout_seconds))
        transport = BatchTransport(
            Caller(line, _URL, NoCredentials(), lambda: _STARTED_AT),
            Sender(self.name, TILL, BOOT, "0.1.0", _moment),
            Attempts(dice),
            Portion(batch_events, settings.max_batch_bytes),
        )
        slot = slot_of(self.name, TILL)
        rules = RetryRules(settings.backoff_base_seconds, settings.backoff_cap_seconds, slot)
        self.relay = Relay(
            self.backlog,
            transport,
            Pacer(),
            RelayRules(rules, dice),
            tidy=_nothing,
            watch=lambda _: None,
        )

    def capture(self) -> None:
        """Capture an event, which wakes the relay."""
        self.backlog.capture()
        self.relay.wake()


def outage_of(plan: Plan) -> Outcome:
    """Tell the story to its end."""
    return run_in_virtual_time(_story(plan))


async def _story(plan: Plan) -> Outcome:
    dice = random.Random(plan.seed)
    account = Account(returned_at=plan.away_seconds)
    office = HeadOffice(plan.rate, account)
    network = Network(office, account, dice.random)
    stores = [
        Store(number, network, dice.random, plan.batch_events) for number in range(plan.stores)
    ]
    network.change(plan.condition)
    running = [asyncio.ensure_future(store.relay.run()) for store in stores]
    # All begin to fail in the same second: the worst that an outage can do.
    for store in stores:
        store.capture()
    trading = asyncio.ensure_future(_trade(stores, plan, dice))
    await _return(network, plan)
    waiting = sum(store.backlog.captured - store.backlog.settled for store in stores)
    await trading
    await _until_all_is_delivered(stores, plan)
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    return Outcome(
        account,
        captured=sum(store.backlog.captured for store in stores),
        waiting_at_return=waiting,
        undelivered=sum(store.backlog.captured - store.backlog.settled for store in stores),
        lost=sum(_lost(store.backlog, office, store.name) for store in stores),
    )


async def _return(network: Network, plan: Plan) -> None:
    hanging_seconds = HANGING_SECONDS if plan.hangs else 0
    await asyncio.sleep(plan.away_seconds - hanging_seconds)
    if plan.hangs:
        network.change(Condition.HUNG)
        await asyncio.sleep(hanging_seconds)
    network.change(Condition.UP)


async def _trade(stores: Sequence[Store], plan: Plan, dice: random.Random) -> None:
    """Have each store capture in its turn, in an order of chance."""
    order = dice.sample(stores, len(stores))
    ticks = round((plan.away_seconds + plan.trading_seconds) / _TICK_SECONDS)
    done = 0
    for tick in range(1, ticks + 1):
        await asyncio.sleep(_TICK_SECONDS)
        due = int(tick * _TICK_SECONDS * len(stores) / plan.capture_seconds)
        for number in range(done, due):
            order[number % len(order)].capture()
        done = due


async def _until_all_is_delivered(stores: Sequence[Store], plan: Plan) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(plan.patience_seconds):
            while any(one.backlog.settled < one.backlog.captured for one in stores):  # noqa: ASYNC110 - ten thousand events to wait for
                await asyncio.sleep(_LOOK_SECONDS)


def _lost(backlog: Backlog, office: HeadOffice, store_id: str) -> int:
    """Count what head office has not, or has with another content."""
    epoch = office.ledgers[store_id].epochs.get((TILL, EPOCH))
    standing = {} if epoch is None else epoch.standing
    kept = sum(
        number in standing and standing[number].body.encode() == backlog.body(number)
        for number in range(1, backlog.captured + 1)
    )
    assert len(standing) <= backlog.captured, "more is there than was captured"
    return backlog.captured - kept


def _moment() -> Moment:
    now_us = int(asyncio.get_running_loop().time() * 1_000_000)
    return Moment(int(_STARTED_AT.timestamp() * 1_000_000) + now_us, now_us)


async def _nothing() -> None: ...
