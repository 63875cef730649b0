"""Timestamps: of the capture, of its arrival, and corrected for clock skew."""

from datetime import UTC, datetime, timedelta

from sync.receiver.db.tables import BootRecord, EmailAnswerRecord, SessionRecord
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, BOOT, SimulatedAgent, answer, session, wire_time

TILL = SimulatedAgent()
SECOND_US = 1_000_000
IN_1970 = "1970-01-01T00:02:00Z"


async def times(office: LedgerDriver) -> list[tuple[object, ...]]:
    return await office.rows(SessionRecord, "occurred_at", "corrected_at", "clock_trusted")


async def test_wrong_wall_clock_is_corrected_by_the_monotonic_clock(
    office: LedgerDriver,
) -> None:
    """Captured 30 s after boot and sent 90 s after boot: a minute before it arrived."""
    wrong = session(1, occurredAt=IN_1970, monotonicUs=30 * SECOND_US)

    await office.take(TILL, wrong, sentMonotonicUs=90 * SECOND_US)

    assert await times(office) == [
        (datetime(1970, 1, 1, 0, 2, tzinfo=UTC), AT - timedelta(seconds=60), True)
    ]


async def test_uncorrectable_time_is_marked(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, occurredAt=IN_1970))

    assert await times(office) == [(datetime(1970, 1, 1, 0, 2, tzinfo=UTC), None, False)]


async def test_capture_of_an_earlier_boot_is_corrected_by_that_boots_clock_reference(
    office: LedgerDriver,
) -> None:
    await office.heartbeat(TILL, bootId="earlier", sentMonotonicUs=100 * SECOND_US)
    office.at += timedelta(hours=1)
    wrong = session(1, occurredAt=IN_1970, bootId="earlier", monotonicUs=40 * SECOND_US)

    await office.take(TILL, wrong)

    assert [row[1:] for row in await times(office)] == [(AT - timedelta(seconds=60), True)]


async def test_clock_reference_of_a_boot_is_its_latest_message(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, sentMonotonicUs=10 * SECOND_US)
    office.at += timedelta(seconds=100)

    await office.heartbeat(TILL, sentMonotonicUs=109 * SECOND_US)

    assert await office.rows(BootRecord, "boot_id", "zero_at") == [
        (BOOT, AT - timedelta(seconds=9))
    ]


async def test_boots_of_other_tills_are_not_used(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent(till_id="till-2"), sentMonotonicUs=10 * SECOND_US)

    await office.take(TILL, session(1, occurredAt=IN_1970, monotonicUs=5 * SECOND_US))

    assert [row[1:] for row in await times(office)] == [(None, False)]


async def test_clock_that_steps_back_is_not_trusted_in_a_later_batch(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, occurredAt=wire_time(-60)))

    await office.take(TILL, session(2, occurredAt=wire_time(-86_400)))

    assert [row[1:] for row in await times(office)] == [
        (AT - timedelta(seconds=60), True),
        (None, False),
    ]


async def test_answer_has_its_own_timestamps(office: LedgerDriver) -> None:
    await office.take(
        TILL,
        session(1, "one", occurredAt=wire_time(-60)),
        answer(2, "one", occurredAt=wire_time(-30.25)),
    )

    assert await office.rows(
        EmailAnswerRecord, "occurred_at", "received_at", "corrected_at", "clock_trusted"
    ) == [(AT - timedelta(seconds=30.25), AT, AT - timedelta(seconds=30.25), True)]


async def test_timestamp_keeps_microseconds_and_is_converted_to_utc(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, occurredAt="2026-03-04T01:02:03.456789-04:00"))

    assert await office.rows(SessionRecord, "occurred_at") == [
        (datetime(2026, 3, 4, 5, 2, 3, 456_789, tzinfo=UTC),)
    ]
