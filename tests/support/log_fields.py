"""Fields of logged events."""

import pytest


def fields_of(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    """Return the fields of each line of `event`."""
    return [vars(record)["fields"] for record in caplog.records if record.message == event]
