"""The agent's outbox on a real file fulfils the outbox contract."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sync.delivery.outbox import Outbox
from tests.contracts.outbox import OutboxContract
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import session


@dataclass
class StoreOutboxHarness:
    """Adapts the rig to the contract."""

    rig: OutboxRig

    @property
    def outbox(self) -> Outbox:
        return self.rig.outbox

    async def capture_sessions(self, count: int) -> None:
        await self.rig.capture(*(session(f"s{number}") for number in range(1, count + 1)))

    async def request_retry(self, sequence: int) -> None:
        assert await self.rig.outbox.dead_letters.retry("epoch-1", sequence)


class TestStoreOutbox(OutboxContract):
    @pytest.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[StoreOutboxHarness]:
        async with outbox_on(tmp_path) as rig:
            yield StoreOutboxHarness(rig)
