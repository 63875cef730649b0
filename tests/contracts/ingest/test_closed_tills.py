"""A till that is switched off in order is closed until it is heard again."""

from datetime import timedelta

import pytest

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.tables import AgentRecord
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.tills import Reference, list_tills
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, sessions

TILL = SimulatedAgent()
REPLACEMENT = SimulatedAgent(epoch="11111111-2222-4333-8444-555555555555")
GIB = 1024**3
NEXT_BOOT = "next-morning"


async def offer(
    office: LedgerDriver, till: SimulatedAgent, seconds: int, last_sequence: int = 0, **more: object
) -> None:
    """Take a heartbeat that was sent so many seconds after the boot, with all delivered."""
    usual = {
        "sentMonotonicUs": seconds * 1_000_000,
        "sentAt": to_rfc3339(office.at),
        "freeBytes": GIB,
        "lastSequence": last_sequence,
        "watermark": last_sequence,
    }
    await office.heartbeat(till, **(usual | more))


async def hear(
    office: LedgerDriver, till: SimulatedAgent, seconds: int, last_sequence: int = 0, **more: object
) -> None:
    """Let so many seconds pass since the boot, then take a heartbeat that was sent now."""
    office.at = AT + timedelta(seconds=seconds)
    await offer(office, till, seconds, last_sequence, **more)


async def state(office: LedgerDriver, after: timedelta = timedelta()) -> list[str]:
    """Return the conditions of the only till, so long after."""
    reference = Reference(office.at + after, "0.1.0")
    tills = await office.database.read(lambda connection: list_tills(connection, reference))
    [till] = tills
    return [str(one) for one in till.conditions]


async def test_till_that_was_never_heard_is_not_yet_installed(office: LedgerDriver) -> None:
    await issue_token(Enrolment(office.database), TILL.name, b"x" * 32)

    assert await state(office) == ["not-installed"]


async def test_till_that_stopped_in_order_is_closed_through_the_night_and_open_once_heard(
    office: LedgerDriver,
) -> None:
    await hear(office, TILL, 60)
    await hear(office, TILL, 100, closed=True)
    night = await state(office, timedelta(hours=10))
    await hear(office, TILL, 36_000)

    assert night == ["closed"]
    assert await state(office) == []
    assert await state(office, timedelta(minutes=6)) == ["silent"]


async def test_till_that_crashed_is_silent(office: LedgerDriver) -> None:
    await hear(office, TILL, 60)

    assert await state(office, timedelta(hours=10)) == ["silent"]


async def test_batch_reopens_a_closed_till(office: LedgerDriver) -> None:
    await hear(office, TILL, 60, closed=True)
    office.at = AT + timedelta(seconds=100)
    await office.take(TILL, *sessions(1, 2), sentMonotonicUs=100_000_000)

    assert await state(office) == []


async def test_batch_of_an_agent_that_does_not_say_when_it_was_sent_reopens_a_closed_till(
    office: LedgerDriver,
) -> None:
    await hear(office, TILL, 60, closed=True)
    await office.take(TILL, *sessions(1, 2))

    assert await state(office) == []


@pytest.mark.parametrize("message", ["heartbeat", "batch"])
async def test_message_sent_before_the_last_word_and_arriving_after_it_leaves_the_till_closed(
    office: LedgerDriver, message: str
) -> None:
    await hear(office, TILL, 60)
    await hear(office, TILL, 100, closed=True)
    if message == "heartbeat":
        await offer(office, TILL, 99)
    else:
        await office.take(TILL, *sessions(1, 2), sentMonotonicUs=99_000_000)

    assert await state(office, timedelta(hours=10)) == ["closed"]


async def test_last_word_that_arrives_after_the_next_start_does_not_close_the_till(
    office: LedgerDriver,
) -> None:
    await hear(office, TILL, 60)
    await hear(office, TILL, 103)
    await offer(office, TILL, 100, closed=True)

    assert await state(office) == []


async def test_last_word_of_the_boot_before_that_arrives_after_the_next_one_does_not_close(
    office: LedgerDriver,
) -> None:
    await hear(office, TILL, 60)
    office.at = AT + timedelta(seconds=200)
    await offer(office, TILL, 5, bootId=NEXT_BOOT)
    office.at += timedelta(seconds=1)
    await offer(office, TILL, 100, closed=True)

    assert await state(office) == []


async def test_machine_that_booted_anew_is_open_though_its_clock_reads_less(
    office: LedgerDriver,
) -> None:
    await hear(office, TILL, 60)
    await hear(office, TILL, 100, closed=True)
    office.at += timedelta(hours=10)
    await offer(office, TILL, 5, bootId=NEXT_BOOT)

    assert await state(office) == []


async def test_database_replaced_while_the_till_is_off_is_heard_as_open(
    office: LedgerDriver,
) -> None:
    await hear(office, TILL, 60, closed=True)
    await hear(office, REPLACEMENT, 70)

    assert await state(office) == ["unconfirmed"]


async def test_clock_of_head_office_that_was_ahead_does_not_keep_a_till_closed(
    office: LedgerDriver,
) -> None:
    office.at = AT + timedelta(days=1)
    await offer(office, TILL, 60, closed=True)
    office.at = AT + timedelta(seconds=90)
    await offer(office, TILL, 5, bootId="another")

    assert "closed" not in await state(office)


async def test_closed_till_that_still_holds_captures_says_so(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 2), sentMonotonicUs=1)
    await hear(office, TILL, 60, last_sequence=5, watermark=2, outstanding=3, closed=True)

    assert await state(office, timedelta(hours=10)) == ["closed-waiting"]


async def test_closed_till_whose_last_batch_was_stored_though_its_answer_was_lost_is_only_closed(
    office: LedgerDriver,
) -> None:
    await hear(office, TILL, 60, last_sequence=2, watermark=0, outstanding=2, closed=True)
    await office.take(TILL, *sessions(1, 2), sentMonotonicUs=59_000_000)

    assert await state(office, timedelta(hours=10)) == ["closed"]


async def test_closed_till_that_was_not_heard_for_three_days_is_shown(office: LedgerDriver) -> None:
    await hear(office, TILL, 60, closed=True)

    assert await state(office, timedelta(days=3)) == ["closed"]
    assert await state(office, timedelta(days=3, seconds=1)) == ["closed-long"]


async def test_closed_epoch_that_another_follows_is_unconfirmed_and_says_that_it_was_closed(
    office: LedgerDriver,
) -> None:
    """The machine may have been started again without a line, have captured, and have died."""
    await office.take(TILL, *sessions(1, 3), sentMonotonicUs=1)
    await hear(office, TILL, 60, last_sequence=3, closed=True)
    closed_at = to_rfc3339(office.at, "milliseconds")
    await hear(office, REPLACEMENT, 600)

    ends = {epoch.epoch: epoch.unconfirmed async for epoch in audit(office.database, None)}
    assert ends[REPLACEMENT.epoch] is None
    assert (ended := ends[TILL.epoch]) is not None
    assert ended.closed_at == closed_at


async def test_closed_clone_confirms_nothing(office: LedgerDriver) -> None:
    """Two machines share a name: the other one may hold more of the same epoch."""
    await office.take(TILL, *sessions(1, 3), sentMonotonicUs=1)
    for number in range(8):
        office.at += timedelta(minutes=1)
        await offer(office, TILL, 60 * (number + 1), 3, bootId=("one", "other")[number % 2])
    office.at += timedelta(minutes=1)
    await offer(office, TILL, 540, 3, bootId="one", closed=True)
    closed = await state(office)
    office.at += timedelta(minutes=1)
    await offer(office, REPLACEMENT, 5, bootId="third")

    assert closed == ["shared-name", "closed"]
    rows = await office.rows(AgentRecord, "epoch", "ended_through")
    assert (TILL.epoch, None) in rows
