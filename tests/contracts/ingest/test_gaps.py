"""Gaps: lost events are recorded permanently; a restored head office is refilled."""

from datetime import timedelta

from sync.receiver.db.tables import AgentRecord, EmailAnswerRecord, GapRecord
from sync.receiver.ingest.ledger_state import ADDRESS_ERASED, AcceptedBatch
from sync.receiver.ingest.placement import NO_LONGER_HELD, SequenceGap
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    AT,
    EPOCH,
    SimulatedAgent,
    answer,
    erased,
    session,
    sessions,
)

TILL = SimulatedAgent()
NOT_ACKNOWLEDGED = dict.fromkeys(
    ("acknowledged_at", "acknowledged_by", "acknowledged_reason"), None
)


async def gaps(office: LedgerDriver) -> list[tuple[object, ...]]:
    return await office.rows(GapRecord, "first_sequence", "last_sequence", "reason")


async def test_events_no_longer_held_by_the_agent_are_recorded_with_a_reason(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, *sessions(1, 2))

    taken = await office.take(TILL, *sessions(6, 7), baseSequence=6)

    assert taken.accepted_through == 7
    assert await office.all_rows(GapRecord) == [
        {
            "store_id": "0042",
            "till_id": "till-1",
            "epoch": EPOCH,
            "first_sequence": 3,
            "last_sequence": 5,
            "reason": NO_LONGER_HELD,
            "noted_at": AT,
            **NOT_ACKNOWLEDGED,
        }
    ]


async def test_gap_stays_recorded_when_the_events_after_it_are_resent(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(3, 4), baseSequence=3)
    before = await office.all_rows(GapRecord)
    office.at += timedelta(days=1)

    await office.take(TILL, *sessions(3, 5), baseSequence=3)

    assert await office.all_rows(GapRecord) == before


async def test_heartbeat_records_missing_events_that_the_agent_no_longer_holds(
    office: LedgerDriver,
) -> None:
    """Head office was restored from a backup older than the agent's retention."""
    await office.take(TILL, *sessions(1, 2))
    await office.heartbeat(TILL, lastSequence=9, baseSequence=7)

    response = await office.heartbeat(TILL, lastSequence=9, baseSequence=7)

    assert response == {EPOCH: 6}
    assert await gaps(office) == [(3, 6, NO_LONGER_HELD)]
    assert await office.rows(AgentRecord, "accepted_through", "last_sequence") == [(6, 9)]


async def test_heartbeat_records_a_whole_epoch_of_which_nothing_is_held(
    office: LedgerDriver,
) -> None:
    """No batch will ever mention it."""
    gone = {"epoch": "epoch-0", "lastSequence": 4, "baseSequence": 5}

    before = await office.heartbeat(TILL, epochs=[gone])
    response = await office.heartbeat(TILL, epochs=[gone])

    assert (before["epoch-0"], response) == (0, {EPOCH: 0, "epoch-0": 4})
    assert await office.all_rows(GapRecord) == [
        {
            "store_id": "0042",
            "till_id": "till-1",
            "epoch": "epoch-0",
            "first_sequence": 1,
            "last_sequence": 4,
            "reason": NO_LONGER_HELD,
            "noted_at": AT,
            **NOT_ACKNOWLEDGED,
        }
    ]


async def test_repeated_heartbeat_does_not_change_the_gap(office: LedgerDriver) -> None:
    await office.know(TILL, 9)
    await office.heartbeat(TILL, lastSequence=9, baseSequence=7)
    before = await office.all_rows(GapRecord)
    office.at += timedelta(minutes=1)

    await office.heartbeat(TILL, lastSequence=9, baseSequence=7)

    assert await office.all_rows(GapRecord) == before


async def test_heartbeat_cannot_record_a_gap_beyond_the_end_of_its_epoch(
    office: LedgerDriver,
) -> None:
    await office.know(TILL, 9)

    await office.heartbeat(TILL, lastSequence=3, baseSequence=2**63 - 1)

    assert await gaps(office) == [(1, 3, NO_LONGER_HELD)]


async def test_late_event_shrinks_a_gap_recorded_by_a_heartbeat(
    office: LedgerDriver,
) -> None:
    await office.know(TILL, 3)
    await office.heartbeat(TILL, lastSequence=3, baseSequence=4)

    await office.take(TILL, session(2), baseSequence=4)

    assert await gaps(office) == [(1, 1, NO_LONGER_HELD), (3, 3, NO_LONGER_HELD)]


async def test_filled_gap_disappears(office: LedgerDriver) -> None:
    await office.take(TILL, session(4), baseSequence=4)

    await office.take(TILL, *sessions(1, 3))

    assert await gaps(office) == []
    assert await office.rows(AgentRecord, "accepted_through") == [(4,)]


async def test_numbers_far_apart_shrink_each_the_gap_that_it_was_in(office: LedgerDriver) -> None:
    """Retried captures of many days arrive in one batch."""
    await office.take(TILL, session(1))
    await office.take(TILL, session(500), baseSequence=500)
    await office.take(TILL, session(1000), baseSequence=1000)

    await office.take(TILL, session(3), session(600))

    left = [(2, 2), (4, 499), (501, 599), (601, 999)]
    assert sorted(await gaps(office)) == [(*one, NO_LONGER_HELD) for one in left]


async def test_erased_address_leaves_its_answer_and_a_gap(office: LedgerDriver) -> None:
    """Head office was restored, and the agent has already erased the address."""
    await office.take(TILL, session(1, "one"), erased(2, "one"))

    assert await office.rows(
        EmailAnswerRecord, "sequence", "status", "email_address", "address_erased"
    ) == [(2, "accepted", None, True)]
    assert await gaps(office) == [(2, 2, ADDRESS_ERASED)]


async def test_duplicate_without_address_does_not_erase_the_stored_one(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1, "one"), answer(2, "one", "guest@example.com"))

    taken = await office.take(TILL, session(1, "one"), erased(2, "one"))

    assert taken.rejections == []
    assert await office.rows(EmailAnswerRecord, "email_address", "address_erased") == [
        ("guest@example.com", False)
    ]
    assert await gaps(office) == []


async def test_address_that_arrives_later_completes_its_answer(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), erased(2, "one"))

    await office.take(TILL, answer(2, "one", "guest@example.com"))

    assert await office.rows(EmailAnswerRecord, "email_address", "address_erased") == [
        ("guest@example.com", False)
    ]
    assert await gaps(office) == []


async def test_address_completes_only_the_answer_of_its_own_agent(office: LedgerDriver) -> None:
    others = [
        SimulatedAgent(till_id="till-2"),
        SimulatedAgent(store_id="0043"),
        SimulatedAgent(epoch="epoch-2"),
    ]
    for number, other in enumerate([TILL, *others]):
        await office.take(other, session(1, f"s-{number}"), erased(2, f"s-{number}"))

    await office.take(TILL, answer(2, "s-0", "guest@example.com"))

    filled = await office.rows(EmailAnswerRecord, "store_id", "till_id", "epoch", "email_address")
    assert [row[:3] for row in filled if row[3] is not None] == [("0042", "till-1", EPOCH)]


async def test_gap_is_recorded_for_its_own_epoch_only(office: LedgerDriver) -> None:
    await office.take(TILL, session(3), baseSequence=3)
    await office.take(SimulatedAgent(epoch="epoch-2"), session(5, "five"), baseSequence=5)

    await office.take(TILL, *sessions(1, 2))

    assert await office.rows(GapRecord, "epoch", "first_sequence", "last_sequence") == [
        ("epoch-2", 1, 4)
    ]


FORGED = 1_000_001


async def test_forged_base_of_a_batch_declares_nothing_lost(office: LedgerDriver) -> None:
    """One message of a stolen token wrote off a million events that no till ever had."""
    await office.take(TILL, *sessions(1, 2))

    for _ in range(3):
        forged = await office.offer(TILL, session(FORGED, "x"), baseSequence=FORGED)

        assert forged == SequenceGap(3)
    assert await gaps(office) == []
    assert (await office.take(TILL, session(3))).accepted_through == 3


async def test_forged_base_of_a_heartbeat_declares_nothing_lost(office: LedgerDriver) -> None:
    forged: dict[str, object] = {"lastSequence": FORGED, "baseSequence": FORGED + 1}
    await office.heartbeat(TILL, lastSequence=2)
    await office.take(TILL, *sessions(1, 2))

    for _ in range(3):
        await office.heartbeat(TILL, **forged)

    lost = sum(int(str(last)) - int(str(first)) + 1 for first, last, _ in await gaps(office))
    assert lost < 3 * 10_001
    accepted = await office.offer(TILL, session(3))
    assert isinstance(accepted, AcceptedBatch)
    assert not accepted.rejections


async def test_batch_after_a_loss_is_accepted_once_a_heartbeat_told_of_the_numbers(
    office: LedgerDriver,
) -> None:
    """Head office was emptied: an honest agent waits for its next heartbeat at most."""
    events = sessions(500_001, 500_002)
    assert await office.offer(TILL, *events, baseSequence=500_001) == SequenceGap(1)
    await office.heartbeat(TILL, lastSequence=500_002, baseSequence=500_001)

    taken = await office.offer(TILL, *events, baseSequence=500_001)

    assert isinstance(taken, AcceptedBatch)
    assert taken.accepted_through == 500_002
    assert await gaps(office) == [(1, 500_000, NO_LONGER_HELD)]
