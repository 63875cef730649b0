"""Refused events are in the log: the first of a code at once, a flood as sums."""

from pathlib import Path

import pytest

from sync.delivery.outcomes import Refused
from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import session
from tests.support.log_fields import fields_of

EVENT = "dead_letter.recorded"


async def test_refused_events_are_a_warning_with_code_and_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*(session(f"{number}") for number in range(50)))
        for event in (await rig.window()).events:
            await rig.refuse(event, verdict=Refused("UNKNOWN_TYPE", "guest@example.com", 400))
        at_once = fields_of(caplog, EVENT)
        rig.outbox.close()

    found = fields_of(caplog, EVENT)
    assert at_once == [
        {"events": 1, "code": "UNKNOWN_TYPE", "http_status": 400, "last": "epoch-1/1"}
    ]
    assert found[1:] == [
        {"events": 49, "code": "UNKNOWN_TYPE", "http_status": 400, "last": "epoch-1/50"}
    ]
    assert {record.levelname for record in caplog.records if record.message == EVENT} == {"WARNING"}


async def test_each_code_has_a_line_and_a_flood_of_codes_a_bounded_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(*(session(f"{number}") for number in range(100)))
        for number, event in enumerate((await rig.window()).events):
            code = f"CODE_{number}\x1b[2J guest@example.com" + "x" * 500
            await rig.refuse(event, verdict=Refused(code, "a reason", 400))
        rig.outbox.close()

    found = fields_of(caplog, EVENT)
    assert sum(int(str(line["events"])) for line in found) == 100
    assert len(found) < 20
    assert all(len(str(line["code"])) < 120 and "\x1b" not in str(line["code"]) for line in found)
    assert "guest@example.com" not in str(found)


async def test_delivered_events_are_not_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        (event,) = (await rig.window()).events
        await rig.deliver(event)
        rig.outbox.close()

    assert fields_of(caplog, EVENT) == []
