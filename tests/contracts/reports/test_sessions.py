"""Sessions of an id: in all stores, page by page; of each the last answers."""

import json
from datetime import timedelta

import pytest

from sync.receiver.ingest.ledger import Ledger
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
    monkeypatch.setattr(json_views, "STORES_PER_READ", 2)
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


async def test_of_two_tills_with_one_id_the_first_capture_stands_and_both_are_shown(
    office: LedgerDriver,
) -> None:
    """By corrected time: the till that was offline may have been first."""
    late, early = SimulatedAgent(till_id="till-1"), SimulatedAgent(till_id="till-2")
    offline, third = SimulatedAgent(till_id="till-3"), SimulatedAgent(till_id="till-4")
    body = {"channel": "kiosk"}
    await office.take(late, session(1, "one", occurredAt=wire_time(-60)), answer(2, "one"))
    office.at += timedelta(minutes=1)
    started = session(1, "one", occurredAt=wire_time(-600), body=body)
    await office.take(early, started, answer(2, "one", "a@example.com"), answer(3, "one"))
    office.at += timedelta(minutes=1)
    # Its clock was wrong: only its arrival is known.
    await office.take(offline, session(1, "one", occurredAt="1970-01-01T00:00:00Z", body=body))
    office.ledger = Ledger(office.database, ["0042"])
    await office.take(third, answer(1, "one", "other@example.com"))

    found = await find_sessions(office.database, "one")

    assert [(one["tillId"], one["stands"]) for one in found] == [
        ("till-2", True),
        ("till-1", False),
        ("till-3", False),
    ]
    listed = [one["emailAnswers"] for one in found]
    assert [[(of["tillId"], of["sequence"]) for of in one] for one in listed] == [  # type: ignore[attr-defined] # a list of objects
        [("till-2", 2), ("till-2", 3), ("till-4", 1)],
        [("till-1", 2)],
        [],
    ]


async def test_stores_with_several_sessions_of_an_id_are_streamed_whole(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_views, "STORES_PER_READ", 1)
    for store, till in (("1", "a"), ("1", "b"), ("1", "c"), ("2", "a"), ("3", "a"), ("3", "b")):
        body = {"channel": till}
        await office.take(SimulatedAgent(store, till), session(1, "one", body=body))

    chunks = [chunk async for chunk in sessions_json(office.database, "one")]

    found = json.loads(b"".join(chunks))["sessions"]
    assert [one["storeId"] + one["tillId"] for one in found] == ["1a", "1b", "1c", "2a", "3a", "3b"]
    assert [one["stands"] for one in found] == [True, False, False, True, True, False]
