"""Heartbeats store the agent's state; the response is the accepted position per epoch."""

from collections.abc import Awaitable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event

from sync.receiver.db.statements import MAX_REJECTED_NAMED
from sync.receiver.db.tables import AgentRecord
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    AT,
    BOOT,
    EPOCH,
    SimulatedAgent,
    session,
    sessions,
    wire_time,
)

TILL = SimulatedAgent()
UNKNOWN = "points.spent"


async def test_heartbeat_stores_the_state_of_the_agent(office: LedgerDriver) -> None:
    await office.heartbeat(
        TILL,
        lastSequence=12,
        watermark=9,
        outstanding=3,
        deadLetters=1,
        oldestUndeliveredAt=wire_time(-600),
        lastActivityAt=wire_time(-5),
        databaseBytes=8192,
        freeBytes=1000,
        sentAt=wire_time(2),
    )

    assert await office.all_rows(AgentRecord) == [
        {
            "store_id": "0042",
            "till_id": "till-1",
            "epoch": EPOCH,
            "accepted_through": 0,
            "last_sequence": 12,
            "last_seen_at": AT,
            "agent_version": "0.1.0",
            "enrolled_at": AT,
            "newest_trusted_at": None,
            "heartbeat_at": AT,
            "agent_sent_at": AT + timedelta(seconds=2),
            "watermark": 9,
            "outstanding": 3,
            "dead_letters": 1,
            "oldest_undelivered_at": AT - timedelta(seconds=600),
            "last_activity_at": AT - timedelta(seconds=5),
            "database_bytes": 8192,
            "free_bytes": 1000,
            "heartbeat_before_at": None,
            "outstanding_before": None,
            "purged_through": 0,
            "retired_at": None,
            "is_current": True,
            "begun_at": AT,
            "older_missing": 0,
            "epochs_refused_at": None,
            "terms_refused": None,
            "followed_at": None,
            "ended_through": None,
            "ended_reason": None,
            "acknowledged_at": None,
            "acknowledged_by": None,
            "acknowledged_reason": None,
            "speaker": f"{BOOT} {EPOCH}",
            "speaker_returns": None,
            "speaker_returned_at": None,
            "speaker_before": None,
            "speaker_sent_us": 5_000_000,
            "speaker_run_id": None,
            "salvage_pending": None,
            "salvage_salvaged": None,
            "salvage_unreadable": None,
            "closed_at": None,
            "heard_boot_id": BOOT,
            "heard_monotonic_us": 5_000_000,
        }
    ]


async def test_heartbeat_stores_which_terms_a_till_refuses_and_clears_it(
    office: LedgerDriver,
) -> None:
    said = []
    for words in ("prompt: contains a control character", "\x1b[2J" + "x" * 9_000, None):
        await office.heartbeat(TILL, termsRefused=words)
        (row,) = await office.all_rows(AgentRecord)
        said.append(row["terms_refused"])

    assert said == ["prompt: contains a control character", r"\x1b[2J" + "x" * 196 + "[cut]", None]


async def test_heartbeat_stores_what_a_till_salvages(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, salvage={"pending": 1, "salvaged": 40, "unreadable": 2})

    (row,) = await office.all_rows(AgentRecord)

    assert [row[f"salvage_{name}"] for name in ("pending", "salvaged", "unreadable")] == [1, 40, 2]


@pytest.mark.parametrize("text", ["", "yesterday", "1970"])
async def test_heartbeat_with_an_invalid_time_is_stored_without_it(
    office: LedgerDriver, text: str
) -> None:
    await office.heartbeat(TILL, sentAt=text, lastActivityAt=text, oldestUndeliveredAt=text)

    times = ("agent_sent_at", "last_activity_at", "oldest_undelivered_at")
    assert await office.rows(AgentRecord, *times) == [(None, None, None)]


async def test_heartbeat_replaces_the_previous_one(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, outstanding=3, oldestUndeliveredAt=wire_time(-600))
    office.at += timedelta(minutes=1)

    await office.heartbeat(TILL, outstanding=0)

    assert await office.rows(
        AgentRecord, "outstanding", "oldest_undelivered_at", "heartbeat_at"
    ) == [(0, None, AT + timedelta(minutes=1))]


async def test_previous_backlog_is_stored_beside_the_current_one(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, outstanding=30)
    office.at += timedelta(minutes=1)

    await office.heartbeat(TILL, outstanding=10)

    before = ("outstanding_before", "heartbeat_before_at")
    assert await office.rows(AgentRecord, "outstanding", *before) == [(10, 30, AT)]


async def test_response_names_the_accepted_position_of_each_epoch(office: LedgerDriver) -> None:
    await office.take(SimulatedAgent(epoch="epoch-0"), *sessions(1, 2))
    await office.take(TILL, *sessions(11, 13), baseSequence=11)

    epochs = [{"epoch": "epoch-0", "lastSequence": 4}]

    assert await office.heartbeat(TILL, lastSequence=13, epochs=epochs) == {EPOCH: 13, "epoch-0": 2}


async def test_response_omits_unknown_epochs(
    office: LedgerDriver,
) -> None:
    """So an agent detects that head office was replaced by an empty one."""
    assert await office.heartbeat(TILL, lastSequence=40, watermark=40) == {EPOCH: 0}


async def test_number_of_statements_does_not_grow_with_the_number_of_epochs(
    office: LedgerDriver,
) -> None:
    """A heartbeat blocks all other stores while it is stored (SQLite has one writer)."""
    many = [{"epoch": f"epoch-{number}", "lastSequence": number} for number in range(1, 91)]

    few, all_of_them = [
        await statements_of(office.heartbeat(SimulatedAgent(till_id=till), epochs=epochs))
        for till, epochs in (("few", many[:2]), ("many", many))
    ]

    assert all_of_them == few


async def test_heartbeat_that_repeats_how_epochs_ended_runs_no_further_statement(
    office: LedgerDriver,
) -> None:
    await office.heartbeat(SimulatedAgent(epoch="epoch-0"))
    await office.heartbeat(TILL)
    alone = await statements_of(office.heartbeat(TILL))
    named = [{"epoch": "epoch-0", "lastSequence": 0, "endedReason": "a test"}]
    await office.heartbeat(TILL, epochs=named)

    assert await statements_of(office.heartbeat(TILL, epochs=named)) == alone


async def test_response_names_rejected_events_of_its_epochs(office: LedgerDriver) -> None:
    """So an agent that holds them as delivered detects that head office was restored."""
    await office.take(SimulatedAgent(epoch="epoch-0"), session(1, type=UNKNOWN))
    await office.take(TILL, session(1), session(2, type=UNKNOWN))
    await office.take(SimulatedAgent(till_id="till-2"), session(1, "another", type=UNKNOWN))
    await office.take(SimulatedAgent(store_id="0043"), session(1, type=UNKNOWN))

    older = [{"epoch": "epoch-0", "lastSequence": 1}]

    assert await office.heartbeat_rejections(TILL) == [(EPOCH, 2)]
    assert await office.heartbeat_rejections(TILL, epochs=older) == [(EPOCH, 2), ("epoch-0", 1)]


async def test_events_accepted_after_a_rejection_are_no_longer_named(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, type=UNKNOWN))
    await office.take(TILL, session(1))

    assert await office.heartbeat_rejections(TILL) == []


async def test_long_list_of_rejected_events_is_spread_over_responses(office: LedgerDriver) -> None:
    count = MAX_REJECTED_NAMED + 3
    await office.take(TILL, *(session(number, type=UNKNOWN) for number in range(1, count + 1)))
    await office.take(SimulatedAgent(epoch="epoch-0"), session(1, type=UNKNOWN))
    epochs = [{"epoch": "epoch-0", "lastSequence": 1}]

    first = await office.heartbeat_rejections(TILL, epochs=epochs)
    epoch, sequence = first[-1]
    last = {"epoch": epoch, "sequence": sequence}
    second = await office.heartbeat_rejections(TILL, epochs=epochs, rejectedAfter=last)
    end = {"epoch": "epoch-0", "sequence": 1}

    assert len(first) == MAX_REJECTED_NAMED
    expected = [(EPOCH, number) for number in range(1, count + 1)]
    assert first + second == [*expected, ("epoch-0", 1)]
    assert await office.heartbeat_rejections(TILL, epochs=epochs, rejectedAfter=end) == []


async def test_previous_epoch_is_stored_with_its_length(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, epochs=[{"epoch": "epoch-0", "lastSequence": 4}])

    assert await office.rows(AgentRecord, "epoch", "last_sequence", "heartbeat_at") == [
        (EPOCH, 0, AT),
        ("epoch-0", 4, None),
    ]


@pytest.mark.parametrize("said", [2, 0])
async def test_epoch_never_gets_shorter(office: LedgerDriver, said: int) -> None:
    await office.take(TILL, *sessions(1, 5))

    await office.heartbeat(TILL, lastSequence=said)

    assert await office.rows(AgentRecord, "last_sequence", "accepted_through") == [(5, 5)]


@pytest.mark.parametrize("days_offline", [0, 30])
async def test_backlog_is_believed_although_its_first_batch_comes_before_the_heartbeat(
    office: LedgerDriver, days_offline: int
) -> None:
    """Completeness told of 10,000 missing events when 500,000 waited on the machine."""
    if days_offline:
        await office.heartbeat(TILL, lastSequence=2)
        office.at += timedelta(days=days_offline)
    await office.take(TILL, *sessions(1, 5))
    office.at += timedelta(seconds=1)

    await office.heartbeat(TILL, lastSequence=500_000)

    assert await office.rows(AgentRecord, "last_sequence", "accepted_through") == [(500_000, 5)]


async def test_batch_does_not_change_the_stored_heartbeat(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, outstanding=3, lastSequence=9)
    office.at += timedelta(seconds=1)

    await office.take(TILL, *sessions(1, 2))

    assert await office.rows(AgentRecord, "outstanding", "last_sequence", "last_seen_at") == [
        (3, 9, AT + timedelta(seconds=1))
    ]


async def statements_of(hearing: Awaitable[object]) -> int:
    """Return the number of statements executed while `hearing` runs."""
    given = 0

    def count(*_: object) -> None:
        nonlocal given
        given += 1

    event.listen(Engine, "before_cursor_execute", count)
    try:
        await hearing
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    return given
