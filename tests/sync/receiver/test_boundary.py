"""The error boundary of head office: refusals are logged in sums, whoever causes them."""

import logging

import pytest

from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.receiver import Receiver


def refusals(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """Return the fields of each line about refused requests."""
    records = [record for record in caplog.records if record.msg == "request.refused"]
    return [record.__dict__["fields"] for record in records]


async def test_flood_of_refused_requests_is_one_line_a_minute_and_reason(
    receiver: Receiver, till: SimulatedAgent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await receiver.enroll(till)
    for _ in range(50):
        await receiver.post("/sync/v1/batches", b"{", till)
    await receiver.get("/nowhere")
    first = refusals(caplog)
    await receiver.server.close()

    assert [(line["status"], line["times"]) for line in first] == [(400, 1), (404, 1)]
    assert [line["times"] for line in refusals(caplog)] == [1, 1, 49]
