"""Outboxes that fulfil the contract: the agent's, the in-memory one, and the fleet simulation's."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sync.delivery.outbox import Outbox
from tests.contracts.delivery.outbox import OutboxContract, WindowContract
from tests.fleet.backlog import Backlog
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import session
from tests.support.models.fake_outbox import FakeOutbox


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


class TestFakeOutbox(OutboxContract):
    @pytest.fixture
    def harness(self) -> FakeOutbox:
        return FakeOutbox()


@dataclass
class BacklogHarness:
    """Adapts the backlog to the contract."""

    outbox: Backlog = field(default_factory=lambda: Backlog("0042"))

    async def capture_sessions(self, count: int) -> None:
        for _ in range(count):
            self.outbox.capture()

    async def request_retry(self, sequence: int) -> None:
        raise AssertionError(sequence)


class TestBacklog(WindowContract):
    @pytest.fixture
    def harness(self) -> BacklogHarness:
        return BacklogHarness()
