"""Events are found by what a person holds, each with its way."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from sqlalchemy import delete

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.tables import sessions as session_table
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports.find import events as find_reads
from sync.receiver.reports.find.by_address import find_by_address
from sync.receiver.reports.find.events import FoundEvent, find_events
from sync.receiver.reports.find.query import parse_query
from tests.support.head_office.audit import audit_by
from tests.support.head_office.ledger import LedgerDriver, purge_before
from tests.support.head_office.messages import (
    AT,
    EPOCH,
    Members,
    SimulatedAgent,
    answer,
    session,
    sessions,
    wire_time,
)

TILL = SimulatedAgent()
OTHER = SimulatedAgent("0043", "till-2", "11111111-2222-4333-8444-555555555555")
GUEST = "guest@example.com"


def numbered(sequence: int, pos_number: str, **members: object) -> Members:
    """Return a session with the POS's own number."""
    name = f"session-{sequence}"
    body = {"correlationId": name, "channel": "pos", "externalIdentifier": pos_number}
    return session(sequence, name, body=body, **members)


async def find(office: LedgerDriver, text: str, store_id: str | None = None) -> list[FoundEvent]:
    query = parse_query(text, UTC, timedelta(minutes=10))
    return [one async for one in find_events(office.database, query, store_id)]


def keys(found: list[FoundEvent]) -> list[tuple[object, ...]]:
    return [(str(one.state), one.store_id, one.till_id, one.sequence) for one in found]


async def test_event_is_found_by_its_correlation_id_with_its_way(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), answer(2, "one"), session(3, "two"))
    await office.take(OTHER, session(1, "one"))

    found = await find(office, " one ")

    assert sorted(keys(found)) == [
        ("here", "0042", "till-1", 1),
        ("here", "0042", "till-1", 2),
        ("here", "0043", "till-2", 1),
    ]
    [first] = [one for one in found if one.type == "session.started" and one.store_id == "0042"]
    assert first.captured_at == first.till_time == "2026-03-04T04:49:28.000Z"
    assert first.received_at == "2026-03-04T05:06:07.000Z"
    assert keys(await find(office, "one", "0043")) == [("here", "0043", "till-2", 1)]


async def test_event_is_found_by_the_number_of_the_pos_with_its_answers(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, numbered(1, "4711"), answer(2, "session-1"), numbered(3, "4712"))

    found = await find(office, "4711")

    assert keys(found) == [("here", "0042", "till-1", 1), ("here", "0042", "till-1", 2)]
    assert found[0].external_identifier == "4711"


async def test_rejected_and_repeated_events_are_found_with_their_reason(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1, "one"), session(2, "one", type="points.spent"))
    await office.take(TILL, session(3, "one", occurredAt=wire_time(-999)))

    found = await find(office, "one")

    assert [state for state, *_ in keys(found)] == ["here", "rejected", "duplicate"]
    assert "UNKNOWN_TYPE" in str(found[1].reason)


async def test_receipt_says_where_its_event_is(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 6))
    await purge_before(office)
    await office.take(TILL, *sessions(7, 9))
    await office.take(TILL, session(12), baseSequence=12)
    await office.heartbeat(TILL, lastSequence=15)
    gone = delete(session_table).where(session_table.c.sequence == 8)
    await office.database.write(lambda connection: connection.execute(gone) and None)

    states = {}
    for number in (3, 7, 8, 10, 12, 14, 16):
        [event] = await find(office, f"{EPOCH}/{number}")
        states[number] = str(event.state)

    assert states == {
        3: "purged",
        7: "here",
        8: "missing",
        10: "lost",
        12: "here",
        14: "not-here-yet",
        16: "unknown",
    }
    assert await find(office, f"{OTHER.epoch}/1") == []


@pytest.mark.parametrize("is_all", [True, False])
async def test_receipt_of_a_capture_that_has_moved_is_neither_lost_nor_unknown(
    office: LedgerDriver, *, is_all: bool
) -> None:
    """Its database was set aside and salvaged: the till's receipt names the number before."""
    await office.take(TILL, *sessions(1, 4))
    await office.heartbeat(TILL, lastSequence=9)
    new = replace(TILL, epoch=OTHER.epoch)
    end: dict[str, object] = {"epoch": EPOCH, "lastSequence": 0, "baseSequence": 1}
    end |= {"endedReason": "damaged", "movedThrough": 9, "lostThrough": 9}
    end |= {"returned": [[5 if is_all else 6, 9]], "returnedThrough": 9}
    await office.heartbeat(new, lastSequence=5, epochs=[end])

    states = [str(one.state) for n in (5, 7, 10) for one in await find(office, f"{EPOCH}/{n}")]

    assert states == ["moved" if is_all else "lost", "moved", "unknown"]


async def test_till_hides_no_events_of_others_behind_many_of_its_own(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_reads, "MAX_ROWS", 3)
    await office.take(TILL, numbered(1, "4711"), *(answer(n, "session-1") for n in range(2, 9)))
    await office.take(OTHER, numbered(1, "4711"), answer(2, "session-1"))

    for text in ("session-1", "4711"):
        found = await find(office, text)
        assert len(found) == 10
        assert [one.sequence for one in found if one.store_id == OTHER.store_id] == [1, 2]


async def test_event_that_is_not_here_yet_says_when_its_till_was_heard(
    office: LedgerDriver,
) -> None:
    await office.heartbeat(TILL, lastSequence=3)

    [event] = await find(office, f"{EPOCH}/2")

    assert (event.store_id, event.till_id) == ("0042", "till-1")
    assert event.last_heard_at == "2026-03-04T05:06:07.000Z"


async def test_events_about_a_time_in_a_store_come_nearest_first(office: LedgerDriver) -> None:
    minutes = (-11, -9, -1, 0, 4, 10, 11)
    office.at = AT + timedelta(hours=1)
    events = (session(n, occurredAt=wire_time(60 * m)) for n, m in enumerate(minutes, 1))
    await office.take(TILL, *events)
    await office.take(OTHER, session(1, occurredAt=wire_time()))

    found = await find(office, "0042 2026-03-04 06:06:07+01:00")

    assert [one.sequence for one in found] == [4, 3, 5, 2, 6]


async def test_store_that_was_retired_is_searched_as_well(office: LedgerDriver) -> None:
    await office.take(TILL, numbered(1, "4711"))
    await Enrolment(office.database).retire("0042", None, office.at, audit_by())

    assert keys(await find(office, "4711")) == [("here", "0042", "till-1", 1)]


async def test_many_stores_are_searched_in_reads_of_some(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_reads, "STORES_PER_READ", 2)
    stores = [f"{number:04}" for number in range(5)]
    for store_id in stores:
        await office.take(SimulatedAgent(store_id), numbered(1, "4711"))

    assert [one.store_id for one in await find(office, "4711")] == stores


async def test_access_request_finds_all_that_holds_an_address_and_never_shows_it(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1, "one"), answer(2, "one"), session(3, f"of {GUEST}"))
    await office.take(OTHER, session(1, "one"), answer(2, "one", "somebody.else@example.com"))

    others: Counter[str] = Counter()
    address = Address.parse(GUEST.upper())
    found = [one async for one in find_by_address(office.database, address, others)]

    assert sorted(keys(found)) == [
        ("here", "0042", "till-1", 1),
        ("here", "0042", "till-1", 2),
        ("here", "0042", "till-1", 3),
    ]
    assert GUEST not in str(found)


async def test_access_request_gives_the_content_held_of_this_person_alone(
    office: LedgerDriver,
) -> None:
    mine = {"correlationId": "one", "channel": "pos", "note": f"told {GUEST}"}
    await office.take(
        TILL,
        session(1, "one", body=mine),
        answer(2, "one"),
        answer(3, "one", "somebody.else@example.com", "declined"),
    )

    found = [one async for one in find_by_address(office.database, Address.parse(GUEST), Counter())]

    assert {one.sequence: one.body and json.loads(one.body) for one in found} == {
        1: mine | {"note": "told [this address]"},
        2: {"status": "accepted", "emailAddress": "[this address]"},
    }


@pytest.mark.parametrize("text", ["", " ", "x" * 1_001, "a\0b", "0042 2026-03-04 25:00"])
def test_query_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|no such time"):
        parse_query(text, UTC, timedelta())
