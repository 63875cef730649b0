"""A purged number is known by its content: head office accepts only what it keeps or recognises."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, delete, select, update

from sync.protocol.wire import ErrorCode
from sync.receiver.db.tables import (
    EmailAnswerRecord,
    GapRecord,
    RejectionRecord,
    SessionRecord,
    agents,
    purged_digests,
)
from sync.receiver.ingest.ledger_state import ADDRESS_ERASED
from sync.receiver.ingest.placement import NO_LONGER_HELD
from sync.receiver.privacy.forget import forget_address
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import EpochCompleteness, Range
from sync.receiver.retention import epoch_purge
from tests.support.head_office.audit import audit_by
from tests.support.head_office.ledger import LedgerDriver, purge_before
from tests.support.head_office.messages import (
    AT,
    Members,
    SimulatedAgent,
    answer,
    erased,
    session,
    sessions,
    wire_time,
)

TILL = SimulatedAgent()
RENUMBERED = SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
DAY = timedelta(days=1)
DAY_SECONDS = 86_400


async def altered(office: LedgerDriver, *events: Members) -> list[int]:
    """Send a batch; return the numbers that are answered as those of other events."""
    taken = await office.take(TILL, *events)
    assert {one.error_code for one in taken.rejections} <= {ErrorCode.ALTERED}
    return [one.sequence for one in taken.rejections]


async def audited(office: LedgerDriver) -> EpochCompleteness:
    (epoch,) = [one async for one in audit(office.database, TILL.store_id)]
    return epoch


async def forget_digests(office: LedgerDriver) -> None:
    """Make the purged events those of a version that kept no digests."""
    await office.database.write(
        lambda connection: connection.execute(delete(purged_digests)).close()
    )


async def test_another_event_under_a_purged_number_is_not_accepted(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 3))
    await purge_before(office)

    assert await altered(office, session(1, "another")) == [1]
    assert await altered(office, *sessions(2, 3), session(4)) == []


async def test_captures_of_a_machine_put_back_are_kept_under_new_numbers(
    office: LedgerDriver,
) -> None:
    """Database and mark are of an image: the agent goes on under numbers that were purged."""
    await office.take(TILL, *sessions(1, 20))
    await purge_before(office)
    office.at = AT + 10 * DAY
    captured = [
        session(number, f"later-{number}", occurredAt=wire_time(9 * DAY_SECONDS + number))
        for number in range(6, 18)
    ]

    assert await altered(office, session(5), *captured) == list(range(6, 18))

    again = [event | {"sequence": number} for number, event in enumerate(captured, start=1)]
    assert (await office.take(RENUMBERED, *again)).rejections == []
    assert len(await office.rows(SessionRecord, "correlation_id")) == 12


@pytest.mark.parametrize("at_once", [1, 3, 1000])
async def test_every_purged_event_is_recognised(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(epoch_purge, "NUMBERS_PER_TRANSACTION", at_once)
    events = [*sessions(1, 4), answer(5, "session-1"), answer(6, "session-2", None, "declined")]
    await office.take(TILL, *events)
    await purge_before(office)

    assert await altered(office, *events) == []
    others = [event | {"occurredAt": wire_time()} for event in events]
    assert await altered(office, *others) == [1, 2, 3, 4, 5, 6]


async def test_events_are_recognised_over_many_blocks_of_numbers(office: LedgerDriver) -> None:
    await office.know(TILL, 10_000)
    numbers = [998, 999, 1000, 1001, 1002, 1999, 2000, 2001, 7003]
    for number in numbers:
        await office.take(TILL, session(number), baseSequence=number)
    await purge_before(office)

    assert await altered(office, *(session(number) for number in numbers)) == []
    assert await altered(office, *(session(n, f"other-{n}") for n in numbers)) == numbers


async def test_answer_is_recognised_after_its_address_was_erased_on_the_till(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1, "a"), answer(2, "a"))
    await purge_before(office)

    assert await altered(office, session(1, "a"), erased(2, "a")) == []
    assert await altered(office, erased(2, "b")) == [2]


async def test_forgotten_address_leaves_events_recognisable(office: LedgerDriver) -> None:
    """Redaction changes the rows before they are purged, and the till still has the address."""
    session_event = session(1, "guest@example.com")
    answered = answer(2, "guest@example.com")
    answered["body"] = {
        "emailAddress": "guest@example.com",
        "status": "accepted",
        "again": "guest@example.com",
    }
    await office.take(TILL, session_event, answered)
    await forget_address(office.database, Address.parse("guest@example.com"), audit_by())
    await purge_before(office)

    assert await altered(office, session_event, answered) == []


async def test_address_is_not_in_a_digest(office: LedgerDriver) -> None:
    """Else it could be guessed from the digest."""
    await office.take(TILL, session(1, "a"), answer(2, "a", "one@example.com"))
    await office.take(
        RENUMBERED, session(1, "a", occurredAt=wire_time(-999)), answer(2, "a", "two@example.com")
    )
    await purge_before(office)

    kept = await office.database.read(
        lambda connection: connection.execute(select(purged_digests.c.digests)).scalars().all()
    )
    assert len({bytes(one)[8:16] for one in kept}) == 1


async def test_purged_duplicate_is_recognised(office: LedgerDriver) -> None:
    await office.take(RENUMBERED, session(1, "a"), answer(2, "a"))
    again = [session(1, "a"), answer(2, "a")]
    await office.take(TILL, *again)
    await purge_before(office)

    assert await altered(office, *again) == []
    assert await altered(office, session(1, "b"), answer(2, "b")) == [1, 2]
    assert await altered(office, answer(1, "a"), session(2, "a")) == [1, 2]


async def test_invalid_event_under_a_purged_number_is_not_accepted(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 2))
    await purge_before(office)

    assert await altered(office, session(1, type="points.burned")) == [1]


async def test_event_of_a_gap_that_was_walked_over_is_stored(office: LedgerDriver) -> None:
    """A retried dead letter: the agent drops it once it is accepted."""
    await office.take(TILL, *sessions(1, 3))
    await office.know(TILL, 9)
    await office.heartbeat(TILL, lastSequence=9, baseSequence=9)
    await office.take(TILL, session(9), baseSequence=9)
    await purge_before(office)
    office.at = AT + 2 * DAY

    assert await altered(office, session(5)) == []

    assert await office.rows(SessionRecord, "sequence") == [(5,)]
    assert await office.rows(GapRecord, "first_sequence", "last_sequence", "reason") == [
        (4, 4, NO_LONGER_HELD),
        (6, 8, NO_LONGER_HELD),
    ]
    epoch = await audited(office)
    assert (epoch.missing, epoch.gaps) == ([], [Range(4, 4), Range(6, 8)])


async def test_late_event_of_a_gap_is_purged_in_its_turn_and_stays_recognised(
    office: LedgerDriver,
) -> None:
    await office.know(TILL, 3)
    await office.take(TILL, session(3), baseSequence=3)
    await purge_before(office)
    office.at = AT + 2 * DAY
    await office.take(TILL, session(2))

    assert await altered(office, session(2)) == []
    assert await altered(office, session(2, "another")) == [2]

    assert await purge_before(office, 3) == 1

    assert await office.rows(SessionRecord, "sequence") == []
    assert await altered(office, *sessions(2, 3)) == []
    assert await altered(office, session(2, "another"), session(3, "another")) == [2, 3]
    assert (await audited(office)).gaps == [Range(1, 1)]


async def test_rejected_event_below_the_purge_is_stored_and_stays_recognised(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1), session(2, occurredAt="yesterday"), session(3))
    await purge_before(office)
    office.at = AT + 2 * DAY

    assert await altered(office, session(2)) == []
    assert await altered(office, session(2, "another")) == [2]
    assert await office.rows(RejectionRecord, "sequence") == []
    await purge_before(office, 3)

    assert await altered(office, *sessions(1, 3)) == []
    assert await altered(office, session(2, "another")) == [2]


async def test_lost_address_of_a_purged_answer_stays_a_gap(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "a"), erased(2, "a"))
    await purge_before(office)

    assert await altered(office, session(1, "a"), answer(2, "a")) == []
    assert await altered(office, answer(2, "b")) == [2]
    assert await office.rows(EmailAnswerRecord, "sequence") == []
    assert await office.rows(GapRecord, "first_sequence", "reason") == [(2, ADDRESS_ERASED)]


async def test_lost_address_of_a_purged_answer_without_digest_stays_a_gap(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1, "a"), erased(2, "a"))
    await purge_before(office)
    await forget_digests(office)

    assert await altered(office, answer(2, "a")) == []
    assert await office.rows(GapRecord, "first_sequence", "reason") == [(2, ADDRESS_ERASED)]


async def test_younger_event_than_all_that_were_purged_without_digests_is_not_accepted(
    office: LedgerDriver,
) -> None:
    """A version before kept no digests: only the time tells a repeat from another event."""
    await office.take(TILL, *sessions(1, 5))
    await purge_before(office)
    await forget_digests(office)
    office.at = AT + 2 * DAY

    later = [
        session(number, f"later-{number}", occurredAt=wire_time(DAY_SECONDS)) for number in (4, 5)
    ]

    assert await altered(office, *sessions(1, 3), *later) == [4, 5]
    assert await altered(office, *sessions(1, 5)) == []


async def test_monotonic_clock_tells_the_age_of_an_event_under_a_wrong_wall_clock(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, *sessions(1, 5))
    await purge_before(office)
    await forget_digests(office)
    office.at = AT + 2 * DAY

    of_1970 = session(4, "later", occurredAt="1970-01-01T00:01:00Z", monotonicUs=4_000_000)
    taken = await office.take(TILL, of_1970, sentMonotonicUs=5_000_000)

    assert [(one.sequence, one.error_code) for one in taken.rejections] == [(4, "ALTERED")]


async def test_event_of_unknown_time_under_a_purged_number_is_not_accepted(
    office: LedgerDriver,
) -> None:
    """Taken twice rather than lost."""
    await office.take(TILL, *sessions(1, 5))
    await purge_before(office)
    await forget_digests(office)

    assert await altered(office, session(4, occurredAt="1970-01-01T00:01:00Z")) == [4]


async def test_digests_outlive_the_row_of_the_agent(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 5))
    await purge_before(office)
    await office.database.write(lambda connection: connection.execute(delete(agents)).close())

    assert await office.heartbeat(TILL, lastSequence=5, baseSequence=6) == {TILL.epoch: 5}

    assert await altered(office, *sessions(1, 5)) == []
    assert await altered(office, session(2, "another")) == [2]
    assert await office.rows(SessionRecord, "sequence") == []
    assert (await audited(office)).is_complete


async def test_lost_row_above_the_purge_is_stored_when_it_is_sent_again(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, *sessions(1, 2))
    await purge_before(office)
    office.at = AT + 2 * DAY
    await office.take(TILL, *sessions(3, 4))
    await office.database.write(_lose_session_3)

    assert await altered(office, *sessions(1, 4)) == []

    assert await office.rows(SessionRecord, "sequence") == [(3,), (4,)]


def _lose_session_3(connection: Connection) -> None:
    table = SessionRecord.metadata.tables["sessions"]
    connection.execute(delete(table).where(table.c.sequence == 3))


async def test_purged_events_stay_known_after_a_downgrade_that_kept_no_digests(
    office: LedgerDriver,
) -> None:
    """The numbers of the version in between are told by their time, the others by content."""
    await office.take(TILL, *sessions(1, 3))
    await purge_before(office)
    office.at = AT + 2 * DAY
    await office.take(TILL, *(session(n, occurredAt=wire_time(DAY_SECONDS)) for n in (4, 5)))
    table = SessionRecord.metadata.tables["sessions"]
    await office.database.write(lambda connection: connection.execute(delete(table)).close())
    await office.database.write(
        lambda connection: connection.execute(update(agents).values(purged_through=5)).close()
    )

    assert await altered(office, session(3, "another"), session(4)) == [3]
    younger = session(5, "later", occurredAt=wire_time(DAY_SECONDS + 60))
    assert await altered(office, younger) == [5]


@pytest.mark.parametrize("is_purged", [True, False], ids=["purged", "original purged"])
async def test_another_answer_under_the_number_of_a_duplicate_is_not_accepted(
    office: LedgerDriver,
    is_purged: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Type and correlation id are the same: once the original is purged, the content decides."""
    await office.take(TILL, session(1, "a"), answer(2, "a"))
    office.at = AT + 2 * DAY
    again = [session(1, "a"), answer(2, "a")]
    await office.take(RENUMBERED, *again)
    await purge_before(office, 3 if is_purged else 1)

    later = answer(2, "a", "other@example.com", occurredAt=wire_time(9 * DAY_SECONDS))
    taken = await office.take(RENUMBERED, *again[:1], later)

    assert [(one.sequence, one.error_code) for one in taken.rejections] == [(2, "ALTERED")]
    assert (await office.take(RENUMBERED, *again)).rejections == []
