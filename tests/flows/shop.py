"""A shop for flow tests: an agent with its tills, delivering to a head office of the test's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.config.delivery import CentralSettings, SyncSettings
from agent.config.settings import RetentionSettings, StoreSettings
from agent.facts import Moment
from tests.agent.agent_under_test import Agent, agent_under_test, settings_in
from tests.crash.ledger import Ledger
from tests.flows.receivers import STORE, TILL
from tests.flows.ways import Way

PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_T = TypeVar("_T")
# Waits as short as the settings allow: a test is about what happens and not about how long.
QUICK = SyncSettings(
    interval_seconds=1,
    timeout_seconds=1,
    backoff_base_seconds=0.1,
    backoff_cap_seconds=0.1,
    batch_events=50,
    max_in_flight=8,
)


@dataclass(slots=True)
class Shop:
    """An agent and its tills; `ledger` keeps what the tills were promised."""

    agent: Agent
    ledger: Ledger

    async def trade(self, customers: int, tills: int = 4) -> None:
        """Have so many customers served, each with a session and an address."""
        await trade_at(self.agent.address.port, self.ledger, customers, tills)

    async def status(self) -> dict[str, object]:
        """Return the agent's status."""
        return (await self.agent.get("/agent/v1/status")).members()

    async def delivered(self) -> dict[str, object]:
        """Wait until nothing waits for head office; return the status then."""
        return await self.until(waiting=0)

    async def dead_letters(self) -> list[dict[str, object]]:
        """Return what head office refused."""
        answer = await self.agent.get("/agent/v1/dead-letters")
        letters = json.loads(answer.body)
        assert isinstance(letters, list)
        return letters

    async def retry(self, letter: dict[str, object]) -> None:
        """Have a dead letter sent again."""
        path = f"/agent/v1/dead-letters/{letter['epoch']}/{letter['sequence']}/retry"
        assert (await self.agent.request("POST", path)).status == 200

    async def until(self, **wanted: object) -> dict[str, object]:
        """Wait until the status, or its `sync` part, says this; return it."""
        status: dict[str, object] = {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    status = await self.status()
                    if _says(status, wanted):
                        return status
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not {wanted} in time: {status}") from None


async def until_there(records: Callable[[], list[_T]], count: int) -> list[_T]:
    """Wait until head office has so many records; return them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if len(there := records()) >= count:
                return there
            await asyncio.sleep(_LOOK_SECONDS)


async def trade_at(port: int, ledger: Ledger, customers: int, tills: int = 4) -> None:
    """Have so many customers served by the agent at a port, and every one of them."""
    crowd = await ledger.open_tills(port, tills, customers)
    assert await crowd.finished(PATIENCE_SECONDS)
    assert not crowd.in_doubt
    assert not ledger.refused


@asynccontextmanager
async def shop_at(
    directory: Path,
    url: str,
    protocol: str,
    ledger: Ledger | None = None,
    *,
    sync: SyncSettings = QUICK,
    keeps_addresses: bool = False,
    token_file: Path | None = None,
    till_id: str = TILL,
    clock: Callable[[], Moment] | None = None,
) -> AsyncIterator[Shop]:
    """Open a shop whose agent delivers to `url`; its data stays in `directory`.

    A `ledger` goes on; `keeps_addresses` for a day after their delivery. With a `token_file`
    the agent proves that it is this store's `till_id`.
    """
    auth = {"kind": "bearer", "token_file": token_file} if token_file else {}
    central = {"url": url, "protocol": protocol, "auth": auth}
    settings = settings_in(
        directory,
        store=StoreSettings(store_id=STORE, till_id=till_id),
        central=CentralSettings.model_validate(central),
        sync=sync,
        retention=RetentionSettings(email_days_after_delivery=int(keeps_addresses)),
    )
    async with agent_under_test(settings, clock) as agent:
        yield Shop(agent, ledger or Ledger())


@asynccontextmanager
async def capturing_in(
    directory: Path, ledger: Ledger, *, clock: Callable[[], Moment] | None = None
) -> AsyncIterator[Shop]:
    """Open a shop whose agent knows of no head office."""
    async with agent_under_test(settings_in(directory), clock) as agent:
        yield Shop(agent, ledger)


@asynccontextmanager
async def shop_on(
    way: Way, directory: Path, ledger: Ledger | None = None, *, sync: SyncSettings = QUICK
) -> AsyncIterator[Shop]:
    """Open a shop whose agent delivers over `way`."""
    async with shop_at(
        directory, way.door.url, way.protocol, ledger, sync=sync, token_file=way.token_file
    ) as shop:
        yield shop


def _says(status: dict[str, object], wanted: dict[str, object]) -> bool:
    sync = status["sync"]
    assert isinstance(sync, dict)
    return all((status | sync)[name] == value for name, value in wanted.items())
