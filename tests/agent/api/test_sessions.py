"""`GET /agent/v1/sessions/{correlation_id}`: delivery state; never an address."""

import re
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from tests.agent.api.test_session_start import IMPOSSIBLE_IDS
from tests.support.agent.in_process import (
    Agent,
    Row,
    agent_under_test,
    insert_in,
    settings_in,
    state_path,
)
from tests.support.clocks import AgentClock

MIDNIGHT_US = 1_767_225_600_000_000  # 2026-01-01 in UTC
ADDRESS = "guest@example.com"


async def test_undelivered_session_and_answers_are_listed_in_order(
    agent: Agent, clock: AgentClock
) -> None:
    clock.wall_us = MIDNIGHT_US
    first = await agent.start_session({"correlationId": "x"})
    clock.wall_us += 61_500_000
    await agent.set_email("x", {"status": "deferred"})
    clock.wall_us -= 3_600_000_000
    await agent.set_email("x", {"status": "accepted", "emailAddress": ADDRESS})

    answer = await agent.get(state_path("x"))

    epoch = str(first.receipt).partition("/")[0]
    waiting = {"state": "waiting", "deliveredAt": None}
    assert answer.status == 200
    assert answer.members() == {
        "correlationId": "x",
        "epoch": epoch,
        "sequence": 1,
        "capturedAt": "2026-01-01T00:00:00.000Z",
        **waiting,
        "emailAnswers": [
            {
                "status": "deferred",
                "epoch": epoch,
                "sequence": 2,
                "capturedAt": "2026-01-01T00:01:01.500Z",
                **waiting,
            },
            {
                "status": "accepted",
                "epoch": epoch,
                "sequence": 3,
                "capturedAt": "2025-12-31T23:01:01.500Z",
                **waiting,
            },
        ],
    }
    assert UUID(epoch)
    assert ADDRESS.encode() not in answer.body


async def test_session_without_an_answer_has_an_empty_list(agent: Agent) -> None:
    await agent.start_session({"correlationId": "x"})

    answer = await agent.get(state_path("x"))

    assert answer.members()["emailAnswers"] == []


async def test_receipt_matches_epoch_and_sequence_of_the_state(agent: Agent) -> None:
    for number in range(3):
        started = await agent.start_session({"correlationId": str(number)})

        state = (await agent.get(state_path(str(number)))).members()

        assert started.receipt == f"{state['epoch']}/{state['sequence']}"


@pytest.mark.parametrize("correlation_id", ["unknown", "X", *IMPOSSIBLE_IDS.values()], ids=ascii)
async def test_unknown_session_is_404(agent: Agent, correlation_id: str) -> None:
    await agent.start_session({"correlationId": "x"})

    answer = await agent.get(state_path(correlation_id))

    assert (answer.status, answer.members()["errorCode"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("encoded", ["%FF", "%ED%A0%80", "%C3", "%00", "%2e%2e"])
async def test_undecodable_id_is_404(agent: Agent, encoded: str) -> None:
    answer = await agent.get(f"/agent/v1/sessions/{encoded}")

    assert answer.status == 404


def watermark(position: int, destination: str = "central") -> Row:
    return ("destination", destination, position)


def delivered(through: int, destination: str = "central") -> Row:
    """Acknowledge up to a position, so many seconds after midnight."""
    return ("delivery", destination, through, MIDNIGHT_US + through * 1_000_000)


def settled(position: int, second: int) -> Row:
    return ("settled", "central", position, MIDNIGHT_US + second * 1_000_000)


def refused(position: int) -> Row:
    return ("dead_letter", "central", position, "CODE", "taken", 400, 1, 1)


def at(second: int) -> tuple[str, str]:
    return ("delivered", f"2026-01-01T00:00:0{second}.000Z")


WAITING = ("waiting", None)
REFUSED = ("refused", None)


@pytest.mark.parametrize(
    ("rows", "states"),
    [
        ([], [WAITING, WAITING, WAITING]),
        ([watermark(1), delivered(1)], [at(1), WAITING, WAITING]),
        ([watermark(3), delivered(3)], [at(3), at(3), at(3)]),
        ([watermark(3), delivered(1), delivered(3)], [at(1), at(3), at(3)]),
        ([watermark(1), delivered(1), settled(2, second=9)], [at(1), at(9), WAITING]),
        ([watermark(1), delivered(1), refused(1)], [REFUSED, WAITING, WAITING]),
        ([watermark(2), delivered(2), refused(2)], [at(2), REFUSED, WAITING]),
        ([watermark(1), delivered(1), settled(3, second=9), refused(3)], [at(1), WAITING, REFUSED]),
        ([watermark(3, "other"), delivered(3, "other")], [WAITING, WAITING, WAITING]),
    ],
    ids=[
        "nothing sent",
        "first delivered",
        "all at once",
        "in two batches",
        "settled ahead of the watermark",
        "first refused",
        "second refused below the watermark",
        "last refused ahead of the watermark",
        "delivered elsewhere",
    ],
)
async def test_delivery_state_follows_the_results_of_central(
    tmp_path: Path, rows: Sequence[Row], states: Sequence[object]
) -> None:
    async with agent_under_test(settings_in(tmp_path)) as agent:
        await agent.start_session({"correlationId": "x"})
        await agent.set_email("x", {"status": "deferred"})
        await agent.set_email("x", {"status": "declined"})
    insert_in(tmp_path, *rows)

    async with agent_under_test(settings_in(tmp_path)) as agent:
        state = (await agent.get(state_path("x"))).members()

    answers = state["emailAnswers"]
    assert isinstance(answers, list)
    shown = [(capture["state"], capture["deliveredAt"]) for capture in (state, *answers)]
    assert shown == list(states)


async def test_times_are_rfc_3339_in_utc(agent: Agent) -> None:
    await agent.start_session({"correlationId": "x"})

    state = (await agent.get(state_path("x"))).members()

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(state["capturedAt"]))


async def test_capture_time_of_a_clock_at_1970_is_reported_unchanged(
    agent: Agent, clock: AgentClock
) -> None:
    clock.wall_us = 0
    await agent.start_session({"correlationId": "x"})

    state = (await agent.get(state_path("x"))).members()

    assert state["capturedAt"] == "1970-01-01T00:00:00.000Z"
