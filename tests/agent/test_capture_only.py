"""An agent that delivers nothing, or under no name, says so and for whom it captures."""

from pathlib import Path

import pytest

from agent.service import running_agent
from tests.support.agent.in_process import settings_in
from tests.support.log_fields import fields_of

NAMES = {"store_id": "0042", "till_id": "till-1"}


@pytest.mark.parametrize(
    ("store", "words"),
    [
        (
            {},
            (
                "captures only, for unnamed-till in unnamed-store: store.store_id, store.till_id"
                " and central.url are not set"
            ),
        ),
        (NAMES, "captures only, for till-1 in 0042: central.url is not set"),
    ],
)
async def test_start_without_destination_logs_for_whom_it_captures_and_what_to_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, store: dict[str, str], words: str
) -> None:
    async with running_agent(settings_in(tmp_path / "state", store=store)):
        pass

    (fields,) = fields_of(caplog, "agent.captures_only")
    reason = str(fields["reason"])
    assert reason.startswith(words)
    assert "loyalty-agent join" in reason


async def test_start_with_names_and_destination_says_nothing_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    central = {"url": "http://127.0.0.1:9"}

    async with running_agent(settings_in(tmp_path / "state", store=NAMES, central=central)):
        pass

    assert fields_of(caplog, "agent.captures_only") == fields_of(caplog, "agent.unnamed") == []


async def test_start_without_a_name_but_with_a_destination_logs_what_it_delivers_under(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    central = {"url": "http://127.0.0.1:9"}

    async with running_agent(settings_in(tmp_path / "state", central=central)):
        pass

    (fields,) = fields_of(caplog, "agent.unnamed")
    assert "store.store_id and store.till_id are not set" in str(fields["reason"])
