"""Error boundary of head office: refused requests are logged in sums."""

import logging

import pytest

from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.receiver import Receiver
from tests.support.log_fields import fields_of


async def test_flood_of_refused_requests_is_one_line_a_minute_and_reason(
    receiver: Receiver, till: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await receiver.enroll(till)
    for _ in range(50):
        await receiver.post("/sync/v1/batches", b"{", till)
    await receiver.get("/nowhere")
    first = fields_of(caplog, "request.refused")
    await receiver.server.close()

    assert [(line["status"], line["times"]) for line in first] == [(400, 1), (404, 1)]
    assert [line["times"] for line in fields_of(caplog, "request.refused")] == [1, 1, 49]
