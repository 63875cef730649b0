"""What holds for all flows."""

import pytest


@pytest.fixture(autouse=True)
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a backlog give way to tills for a moment only: how long is asserted beside the pacer."""
    monkeypatch.setattr("sync.delivery.throttle.PAUSE_BESIDE_TILLS_SECONDS", 0.1)
