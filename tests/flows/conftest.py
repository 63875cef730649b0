"""Settings for all end-to-end tests."""

import pytest


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses for tills; their length is asserted in the tests of the throttle."""
    monkeypatch.setattr("sync.delivery.throttle.TILLS_PAUSE_SECONDS", 0.1)
