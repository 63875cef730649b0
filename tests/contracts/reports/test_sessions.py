"""Sessions of an id: in all stores, page by page; of each the last answers."""

import json
from datetime import timedelta

import pytest

from sync.receiver.reports import json_views
from sync.receiver.reports.json_views import find_sessions, sessions_json
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import Members, SimulatedAgent, answer, session, wire_time

TILL = SimulatedAgent()


def answers(first: int, last: int) -> list[Members]:
    """Return distinct answers to one session."""
    return [
        answer(number, "one", f"{number}@example.com", occurredAt=wire_time(number - 5000))
        for number in range(first, last + 1)
    ]


async def test_session_with_many_answers_lists_the_last_ones_and_says_so(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_views, "MAX_ANSWERS", 3)
    await office.take(TILL, session(1, "one"), *answers(2, 6))
    office.at += timedelta(minutes=1)
    await office.take(SimulatedAgent(epoch="0-later"), *answers(1, 1))

    (found,) = await find_sessions(office.database, "one")

    listed = found["emailAnswers"]
    assert isinstance(listed, list)
    assert [(one["epoch"], one["sequence"]) for one in listed] == [
        (TILL.epoch, 5),
        (TILL.epoch, 6),
        ("0-later", 1),
    ]
    assert found["emailAnswersOmitted"] == 3


async def test_session_with_few_answers_lists_all(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), *answers(2, 4), session(5, "two"))

    (one,) = await find_sessions(office.database, "one")
    (two,) = await find_sessions(office.database, "two")

    assert isinstance(one["emailAnswers"], list)
    assert [listed["sequence"] for listed in one["emailAnswers"]] == [2, 3, 4]
    assert two["emailAnswers"] == []
    assert "emailAnswersOmitted" not in one


async def test_sessions_of_all_stores_are_streamed(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe may use one id in every store of the chain."""
    monkeypatch.setattr(json_views, "SESSIONS_PER_READ", 2)
    stores = [f"{number:04}" for number in range(5)]
    for store in stores:
        await office.take(SimulatedAgent(store), session(1, "one"), answer(2, "one"))

    chunks = [chunk async for chunk in sessions_json(office.database, "one")]

    found = json.loads(b"".join(chunks))["sessions"]
    assert [one["storeId"] for one in found] == stores
    assert [len(one["emailAnswers"]) for one in found] == [1] * 5
    assert len(chunks) == 4


async def test_unknown_id_has_no_sessions(office: LedgerDriver) -> None:
    assert [chunk async for chunk in sessions_json(office.database, "one")] == []
    assert [chunk async for chunk in sessions_json(office.database, "\0")] == []
