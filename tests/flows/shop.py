"""A shop for flow tests: an agent with its tills, delivering to a head office of the test's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.config.delivery import CentralSettings, SyncSettings
from agent.config.settings import RetentionSettings
from tests.agent.agent_under_test import Agent, agent_under_test, settings_in
from tests.central import ScriptedCentral
from tests.crash.ledger import Ledger
from tests.till.load import Crowd

PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.02
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
        crowd = Crowd(
            self.agent.address.host,
            self.agent.address.port,
            pairs=self.ledger.customers(customers),
            on_acknowledged=self.ledger.acknowledge,
            on_refused=self.ledger.refuse,
        )
        await crowd.open(tills)
        assert await crowd.finished(PATIENCE_SECONDS)
        assert not crowd.in_doubt
        assert not self.ledger.refused

    async def status(self) -> dict[str, object]:
        """Return the agent's status."""
        return (await self.agent.get("/agent/v1/status")).members()

    async def delivered(self) -> dict[str, object]:
        """Wait until nothing waits for head office; return the status then."""
        return await self.until(waiting=0)

    async def until_at(self, central: ScriptedCentral, records: int) -> None:
        """Wait until head office has so many records."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if len(central.ledger.records) >= records:
                    return
                await asyncio.sleep(_LOOK_SECONDS)

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


@asynccontextmanager
async def shop_at(
    directory: Path,
    url: str,
    protocol: str,
    ledger: Ledger | None = None,
    *,
    sync: SyncSettings = QUICK,
    keeps_addresses: bool = False,
) -> AsyncIterator[Shop]:
    """Open a shop whose agent delivers to `url`; its data stays in `directory`.

    A `ledger` goes on; `keeps_addresses` for a day after their delivery.
    """
    central = CentralSettings.model_validate({"url": url, "protocol": protocol})
    retention = RetentionSettings(email_days_after_delivery=int(keeps_addresses))
    settings = settings_in(directory, central=central, sync=sync, retention=retention)
    async with agent_under_test(settings) as agent:
        yield Shop(agent, ledger or Ledger())


def _says(status: dict[str, object], wanted: dict[str, object]) -> bool:
    sync = status["sync"]
    assert isinstance(sync, dict)
    return all((status | sync)[name] == value for name, value in wanted.items())
