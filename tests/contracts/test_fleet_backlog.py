"""The outbox of the fleet simulation returns windows as the agent's outbox does."""

from dataclasses import dataclass, field

import pytest

from tests.contracts.outbox import WindowContract
from tests.fleet.backlog import Backlog


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
