"""The outbox in memory that tests of passes use does what the real one does."""

import pytest

from tests.contracts.outbox import OutboxContract
from tests.sync.fake_outbox import FakeOutbox


class TestFakeOutbox(OutboxContract):
    @pytest.fixture
    def shelf(self) -> FakeOutbox:
        return FakeOutbox()
