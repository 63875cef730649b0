"""Timestamps: of the capture, of its arrival, and corrected for clock skew."""

from datetime import UTC, datetime, timedelta

from sync.receiver.db.tables import (
    BootRecord,
    EmailAnswerRecord,
    SessionRecord,
    UncertainTimeRecord,
)
from sync.receiver.ingest.times.uncertain_times import MAX_SETTLED
from tests.support.head_office.citus import recorded_statements
from tests.support.head_office.ledger import LedgerDriver, purge_before
from tests.support.head_office.messages import (
    AT,
    Members,
    SimulatedAgent,
    answer,
    session,
    wire_time,
)

TILL = SimulatedAgent()
SECOND_US = 1_000_000
MICROSECOND, MILLISECOND = timedelta(microseconds=1), timedelta(milliseconds=1)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86_400))
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


async def zeros(office: LedgerDriver) -> list[object]:
    """Return how long before `AT` the clocks of the boots read zero."""
    return [AT - zero for (zero,) in await office.rows(BootRecord, "zero_at") if zero]  # type: ignore[operator]


async def tell(office: LedgerDriver, sent: timedelta, received: timedelta) -> None:
    """Let a heartbeat arrive that was sent `sent` after the boot at `AT`."""
    office.at = AT + received
    await office.heartbeat(TILL, sentMonotonicUs=sent // MICROSECOND)


async def test_clock_reference_of_a_boot_is_its_earliest_measurement(office: LedgerDriver) -> None:
    await tell(office, 60 * SECOND, 63 * SECOND)
    await tell(office, 120 * SECOND, 121 * SECOND)
    await tell(office, 180 * SECOND, 188 * SECOND)

    assert await zeros(office) == [-SECOND]


async def test_request_that_was_on_its_way_while_the_machine_slept_corrects_no_right_time(
    office: LedgerDriver,
) -> None:
    await tell(office, MINUTE, MINUTE)
    office.at = AT + 9 * HOUR
    in_1970 = session(1, occurredAt=IN_1970, monotonicUs=90 * SECOND_US)
    right = session(2, occurredAt=wire_time(90), monotonicUs=90 * SECOND_US)

    await office.take(TILL, in_1970, right, sentMonotonicUs=2 * MINUTE // MICROSECOND)

    assert [row[1:] for row in await times(office)] == [(AT + 90 * SECOND, True)] * 2


async def test_first_request_of_a_boot_that_a_sleep_delayed_is_not_trusted_against_the_wall_clock(
    office: LedgerDriver,
) -> None:
    office.at = AT + 9 * HOUR
    right = session(1, occurredAt=wire_time(90), monotonicUs=90 * SECOND_US)

    await office.take(TILL, right, sentMonotonicUs=2 * MINUTE // MICROSECOND)

    assert [row[1:] for row in await times(office)] == [(None, False)]


async def test_slow_wall_clock_is_corrected_once_two_messages_agree(office: LedgerDriver) -> None:
    await tell(office, SECOND, SECOND)
    office.at = AT + 2 * SECOND
    slow = session(1, occurredAt=wire_time(-86_400), monotonicUs=0)

    await office.take(TILL, slow, sentMonotonicUs=2 * SECOND_US)

    assert [row[1:] for row in await times(office)] == [(AT, True)]


SLOW = -600


def slow_session(number: int, at_seconds: float) -> Members:
    """Return a session of a machine whose wall clock is ten minutes slow."""
    at_us = int(at_seconds * SECOND_US)
    return session(number, occurredAt=wire_time(at_seconds + SLOW), monotonicUs=at_us)


async def test_slow_wall_clock_is_corrected_by_a_message_that_knows_its_round_trip(
    office: LedgerDriver,
) -> None:
    """A heartbeat, and the first batch 50 ms later, over a line of 30 to 70 ms."""
    await tell(office, 100 * SECOND, 100 * SECOND + 70 * MILLISECOND)
    office.at = AT + 100.15 * SECOND

    await office.take(TILL, slow_session(1, 90), sentMonotonicUs=100_120_000, roundTripUs=140_000)

    assert [row[1:] for row in await times(office)] == [(AT + 90.03 * SECOND, True)]


async def test_round_trip_of_messages_that_this_head_office_never_had_confirms_nothing(
    office: LedgerDriver,
) -> None:
    """It was restored from a backup, or emptied; and this message was late."""
    office.at = AT + HOUR
    await office.take(TILL, slow_session(1, 90), sentMonotonicUs=100_000_000, roundTripUs=140_000)

    assert [row[1:] for row in await times(office)] == [(None, False)]


async def test_times_that_were_unknown_are_corrected_once_two_messages_agree(
    office: LedgerDriver,
) -> None:
    """As of an agent that does not tell its round trip."""
    await tell(office, 100 * SECOND, 100 * SECOND + 70 * MILLISECOND)
    office.at = AT + 100.15 * SECOND
    events = [slow_session(1, 90), answer(2, "session-1", occurredAt=wire_time(91 + SLOW))]
    events[1] |= {"monotonicUs": 91 * SECOND_US}
    await office.take(TILL, *events, sentMonotonicUs=100_120_000)
    before = await times(office)
    await tell(office, 160 * SECOND, 160 * SECOND + 40 * MILLISECOND)

    assert [row[1:] for row in before] == [(None, False)]
    assert [row[1:] for row in await times(office)] == [(AT + 90.04 * SECOND, True)]
    answers = await office.rows(EmailAnswerRecord, "corrected_at", "clock_trusted")
    assert answers == [(AT + 91.04 * SECOND, True)]
    assert await office.rows(UncertainTimeRecord, "sequence") == []


async def test_times_by_a_late_message_are_put_right_by_the_prompt_ones_after_it(
    office: LedgerDriver,
) -> None:
    """A machine in 1970 whose first batch was on its way for nine hours."""
    office.at = AT + 9 * HOUR
    in_1970 = session(1, occurredAt=IN_1970, monotonicUs=90 * SECOND_US)
    await office.take(TILL, in_1970, sentMonotonicUs=100 * SECOND_US)
    before = await times(office)
    for minute in (541, 542):
        await tell(office, minute * MINUTE, minute * MINUTE)

    assert [row[1:] for row in before] == [(AT + 9 * HOUR - 10 * SECOND, True)]
    assert [row[1:] for row in await times(office)] == [(AT + 90 * SECOND, True)]


async def test_unreadable_event_before_it_keeps_no_time_from_being_corrected(
    office: LedgerDriver,
) -> None:
    """It is in the batch, but not among the events that could be decoded."""
    office.at = AT + 100 * SECOND
    unreadable = session(1, correlationId=7)

    await office.take(
        TILL, unreadable, slow_session(2, 80), slow_session(3, 90), sentMonotonicUs=100 * SECOND_US
    )
    await tell(office, 160 * SECOND, 160 * SECOND)

    assert [row[1:] for row in await times(office)] == [
        (AT + 80 * SECOND, True),
        (AT + 90 * SECOND, True),
    ]
    assert await office.all_rows(UncertainTimeRecord) == []


async def test_many_times_are_corrected_a_bounded_number_a_message(office: LedgerDriver) -> None:
    await tell(office, 100 * SECOND, 100 * SECOND + 70 * MILLISECOND)
    office.at = AT + 100.15 * SECOND
    events = [slow_session(number, 90) for number in range(1, 2 * MAX_SETTLED + 2)]
    await office.take(TILL, *events, sentMonotonicUs=100_120_000)
    left = []
    for minute in range(3, 7):
        await tell(office, minute * MINUTE, minute * MINUTE + 40 * MILLISECOND)
        left.append(len(await office.rows(UncertainTimeRecord, "sequence")))
    with recorded_statements() as statements:
        await tell(office, 8 * MINUTE, 8 * MINUTE + 40 * MILLISECOND)

    assert left == [MAX_SETTLED + 1, 1, 0, 0]
    assert {row[1:] for row in await times(office)} == {(AT + 90.04 * SECOND, True)}
    assert not [one for one in statements if "uncertain_times" in one]


async def test_purged_event_of_an_unknown_time_is_left_out(office: LedgerDriver) -> None:
    await tell(office, 100 * SECOND, 100 * SECOND + 70 * MILLISECOND)
    office.at = AT + 100.15 * SECOND
    await office.take(TILL, slow_session(1, 90), sentMonotonicUs=100_120_000)
    await purge_before(office)
    of_boots_that_fell_silent = await office.rows(UncertainTimeRecord, "sequence")
    await tell(office, 160 * SECOND, 160 * SECOND + 40 * MILLISECOND)

    assert of_boots_that_fell_silent == []
    assert await times(office) == []
    assert await office.rows(UncertainTimeRecord, "sequence") == []


async def test_right_wall_clock_is_taken_as_it_stands(office: LedgerDriver) -> None:
    await tell(office, SECOND, 2.5 * SECOND)
    right = session(1, occurredAt=wire_time(1), monotonicUs=SECOND_US)

    await office.take(TILL, right)

    assert [row[1:] for row in await times(office)] == [(AT + SECOND, True)]


async def test_clock_of_head_office_that_was_behind_for_a_minute_poisons_no_boot(
    office: LedgerDriver,
) -> None:
    behind = 30
    for minute in range(1, 60):
        received = minute * MINUTE - (HOUR if minute == behind else 0 * HOUR)
        await tell(office, minute * MINUTE, received)
        sent = minute * MINUTE // MICROSECOND
        right = session(2 * minute, occurredAt=wire_time(60 * minute), monotonicUs=sent)
        in_1970 = session(2 * minute - 1, occurredAt=IN_1970, monotonicUs=sent)
        await office.take(TILL, in_1970, right, sentMonotonicUs=sent)

    corrected = [row[1:] for row in await times(office)]
    expected = [(AT + minute * MINUTE, True) for minute in range(1, 60)]
    wrong = [minute + 1 for minute in range(59) if corrected[2 * minute] != expected[minute]]
    right_but_wrong = [n + 1 for n in range(59) if corrected[2 * n + 1] != expected[n]]
    assert (wrong, right_but_wrong) == ([], [])


async def test_clock_of_head_office_that_was_a_year_ahead_distrusts_no_later_time(
    office: LedgerDriver,
) -> None:
    office.at = AT + 365 * DAY
    await office.take(TILL, session(1, occurredAt=wire_time(365 * 86_400)))
    office.at = AT

    await office.take(TILL, session(2, occurredAt=wire_time(-1)))

    assert (await times(office))[1][1:] == (AT - SECOND, True)


async def test_prompt_messages_of_a_known_boot_write_nothing(office: LedgerDriver) -> None:
    await tell(office, SECOND, SECOND)
    await tell(office, MINUTE, MINUTE)
    with recorded_statements() as statements:
        await tell(office, 2 * MINUTE, 2 * MINUTE + 100 * MILLISECOND)

    assert not [one for one in statements if "INTO boots" in one]


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
