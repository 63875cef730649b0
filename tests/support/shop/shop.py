"""A shop for end-to-end tests: an agent with tills, delivering to a given head office."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.config.central import CentralSettings, SyncSettings
from agent.config.settings import RetentionSettings, StoreSettings
from agent.facts import Timestamp
from tests.support.agent.in_process import Agent, agent_under_test, settings_in
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.paths import DeliveryPath
from tests.support.shop.receivers import STORE, TILL
from tests.support.till.ledger import TillLedger

_LOOK_SECONDS = 0.05
_T = TypeVar("_T")
# The shortest waits that the settings allow: these tests do not assert durations.
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
    """An agent and its tills; `ledger` records the answers to tills."""

    agent: Agent
    ledger: TillLedger

    async def trade(self, customers: int, tills: int = 4) -> None:
        """Serve so many customers, each with a session and an address."""
        await trade_at(self.agent.address.port, self.ledger, customers, tills)

    async def status(self) -> dict[str, object]:
        """Return the agent's status."""
        return (await self.agent.get("/agent/v1/status")).members()

    async def delivered(self) -> dict[str, object]:
        """Wait until the outbox is empty; return the status."""
        return await self.until(waiting=0)

    async def dead_letters(self) -> list[dict[str, object]]:
        """Return the dead letters."""
        answer = await self.agent.get("/agent/v1/dead-letters")
        letters = json.loads(answer.body)
        assert isinstance(letters, list)
        return letters

    async def retry(self, letter: dict[str, object]) -> None:
        """Retry a dead letter."""
        path = f"/agent/v1/dead-letters/{letter['epoch']}/{letter['sequence']}/retry"
        assert (await self.agent.request("POST", path)).status == 200

    async def until(self, **wanted: object) -> dict[str, object]:
        """Wait until the status or its `sync` part has these values; return the status."""
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
    """Wait until head office has `count` records; return them."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if len(there := records()) >= count:
                return there
            await asyncio.sleep(_LOOK_SECONDS)


async def trade_at(port: int, ledger: TillLedger, customers: int, tills: int = 4) -> None:
    """Serve so many customers with the agent at a port; fail if one is refused."""
    crowd = await ledger.open_tills(port, tills, customers)
    assert await crowd.finished(PATIENCE_SECONDS)
    assert not crowd.in_doubt
    assert not ledger.refused


@asynccontextmanager
async def shop_at(
    directory: Path,
    url: str,
    protocol: str,
    ledger: TillLedger | None = None,
    *,
    sync: SyncSettings = QUICK,
    keeps_addresses: bool = False,
    token_file: Path | None = None,
    till_id: str = TILL,
    clock: Callable[[], Timestamp] | None = None,
    central: Mapping[str, object] | None = None,
) -> AsyncIterator[Shop]:
    """Open a shop that delivers to `url`; its data stays in `directory`.

    `ledger` continues an earlier one; `keeps_addresses` retains them for a day after delivery.
    With `token_file` the agent authenticates as `till_id` of this store; `central` has further
    settings of that section.
    """
    auth = {"kind": "bearer", "token_file": token_file} if token_file else {}
    to_central = {"url": url, "protocol": protocol, "auth": auth, **(central or {})}
    settings = settings_in(
        directory,
        store=StoreSettings(store_id=STORE, till_id=till_id),
        central=CentralSettings.model_validate(to_central),
        sync=sync,
        retention=RetentionSettings(email_days_after_delivery=int(keeps_addresses)),
    )
    async with agent_under_test(settings, clock) as agent:
        yield Shop(agent, ledger or TillLedger())


@asynccontextmanager
async def capturing_in(
    directory: Path, ledger: TillLedger, *, clock: Callable[[], Timestamp] | None = None
) -> AsyncIterator[Shop]:
    """Open a shop without a configured head office."""
    async with agent_under_test(settings_in(directory), clock) as agent:
        yield Shop(agent, ledger)


@asynccontextmanager
async def shop_over(
    path: DeliveryPath,
    directory: Path,
    ledger: TillLedger | None = None,
    *,
    sync: SyncSettings = QUICK,
) -> AsyncIterator[Shop]:
    """Open a shop that delivers over `path`."""
    async with shop_at(
        directory, path.server.url, path.protocol, ledger, sync=sync, token_file=path.token_file
    ) as shop:
        yield shop


def _says(status: dict[str, object], wanted: dict[str, object]) -> bool:
    sync = status["sync"]
    assert isinstance(sync, dict)
    return all((status | sync)[name] == value for name, value in wanted.items())
