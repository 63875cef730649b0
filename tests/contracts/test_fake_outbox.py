"""The in-memory outbox of the delivery tests fulfils the outbox contract."""

import pytest

from tests.contracts.outbox import OutboxContract
from tests.support.models.fake_outbox import FakeOutbox


class TestFakeOutbox(OutboxContract):
    @pytest.fixture
    def harness(self) -> FakeOutbox:
        return FakeOutbox()
