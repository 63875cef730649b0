"""Pages show a bounded number of rows, and say how many they leave out."""

import pytest

from sync.receiver.pages import routes
from sync.receiver.reports import json_views
from sync.receiver.reports.store_details import MAX_ROWS
from tests.support.head_office.messages import SimulatedAgent, answer, session, wire_time
from tests.support.head_office.receiver import Receiver
from tests.sync.receiver.pages.html_page import Page


async def text_of(receiver: Receiver, path: str) -> str:
    return Page((await receiver.get(path)).body.decode()).text


async def test_store_page_says_how_many_rejected_events_it_leaves_out(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    rejected = (session(number, type="x") for number in range(1, MAX_ROWS + 8))
    await receiver.send(till, *rejected)

    text = await text_of(receiver, "/stores/0042")

    assert f"Shows the newest {MAX_ROWS}. 7 more are not shown." in text


async def test_store_page_says_how_many_epochs_it_leaves_out(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    others = [SimulatedAgent(till_id=f"till-{number}") for number in (2, 3)]
    for number, other in enumerate(others):
        await receiver.enroll(other)
        older = [{"epoch": f"{number}-{n:03}", "lastSequence": 1} for n in range(60)]
        await receiver.heartbeat(other, epochs=older)

    body = (await receiver.get("/stores/0042")).body.decode()

    assert "22 more are not shown." in Page(body).text
    # The current epochs are always among those shown.
    assert body.count(f"<code>{till.epoch}</code>") == 2


async def test_store_page_with_few_rows_leaves_nothing_out(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, *(session(number, type="x") for number in range(1, MAX_ROWS + 1)))

    assert "more are not shown" not in await text_of(receiver, "/stores/0042")


async def test_session_page_shows_the_last_answers_and_counts_the_others(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_views, "MAX_ANSWERS", 2)
    statuses = ["deferred", "deferred", "declined", "accepted"]
    answers = (
        answer(number, "one", None, status, occurredAt=wire_time(number - 100))
        if status != "accepted"
        else answer(number, "one", occurredAt=wire_time(number - 100))
        for number, status in enumerate(statuses, start=2)
    )
    await receiver.send(till, session(1, "one"), *answers)

    text = await text_of(receiver, "/sessions/one")

    assert "2 earlier answers are not shown." in text
    assert [line for line in text.split("\n") if line in statuses] == ["declined", "accepted"]


async def test_session_page_of_an_id_in_every_store_shows_some_of_them(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitoring probe uses the same id everywhere."""
    monkeypatch.setattr(routes, "_STORES_SHOWN", 2)
    for store in ("0043", "0044", "0045"):
        probe = SimulatedAgent(store)
        await receiver.enroll(probe)
        await receiver.send(probe, session(1, "probe"))

    text = await text_of(receiver, "/sessions/probe")

    assert ("In store 0044" in text, "In store 0045" in text) == (True, False)
    assert "More stores have a session with this id" in text
