"""A heartbeat that arrives after one that was sent later sets no state back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from sync.receiver.db.tables import AgentRecord
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.tills import Reference, list_tills
from tests.support.head_office.citus import recorded_statements
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, sessions, wire_time

SECOND, MINUTE, HOUR = (timedelta(seconds=n) for n in (1, 60, 3600))
MICROSECOND = timedelta(microseconds=1)
OLD = SimulatedAgent()
NEW = replace(OLD, epoch="0b4d5f1e-7f0a-4f0e-8f43-1c1c4d9a7e21")
DAMAGED = "the database was damaged"


def ended(last_sequence: int, **members: object) -> list[dict[str, object]]:
    """Return what the machine says of its older epoch."""
    told = {"epoch": OLD.epoch, "lastSequence": last_sequence, "endedReason": DAMAGED}
    return [told | members]


async def hear(
    office: LedgerDriver,
    agent: SimulatedAgent,
    sent: timedelta,
    late: timedelta = timedelta(0),
    **members: object,
) -> None:
    """Let a heartbeat arrive that was sent so long after `AT`, when the machine was booted."""
    office.at = AT + sent + late
    clocks = {"sentAt": wire_time(sent / SECOND), "sentMonotonicUs": sent // MICROSECOND}
    await office.heartbeat(agent, **(clocks | members))


async def till_rows(office: LedgerDriver, *columns: str) -> dict[object, tuple[object, ...]]:
    """Return columns of the epochs, by epoch."""
    rows = await office.rows(AgentRecord, "epoch", *columns)
    return {row[0]: row[1:] for row in rows}


async def conditions(office: LedgerDriver) -> tuple[Condition, ...]:
    reference = Reference(office.at, "0.1.0")
    (till,) = await office.database.read(lambda connection: list_tills(connection, reference))
    return till.conditions


@pytest.mark.parametrize("boot_id", ["one", "another"])
async def test_late_heartbeat_of_an_epoch_before_does_not_make_its_end_unconfirmed(
    office: LedgerDriver, boot_id: str
) -> None:
    """The machine damaged its database an hour ago, and has said since how that epoch ended."""
    await hear(office, OLD, MINUTE, bootId="one")
    for minute in (3, 4):
        await hear(office, NEW, minute * MINUTE, bootId=boot_id, epochs=ended(0))
    await hear(office, OLD, 2 * MINUTE, HOUR, bootId="one")
    await hear(office, NEW, 70 * MINUTE, bootId=boot_id, epochs=ended(0))

    assert await till_rows(office, "is_current", "ended_through") == {
        OLD.epoch: (None, 0),
        NEW.epoch: (True, None),
    }
    assert Condition.UNCONFIRMED not in await conditions(office)


async def test_only_heartbeat_of_a_boot_is_late_and_of_an_epoch_before(
    office: LedgerDriver,
) -> None:
    await hear(office, NEW, 3 * MINUTE, bootId="now", epochs=ended(0))
    await hear(office, OLD, MINUTE, HOUR, bootId="before")
    await hear(office, NEW, 70 * MINUTE, bootId="now", epochs=ended(0))

    assert (await till_rows(office, "ended_through"))[OLD.epoch] == (0,)


async def test_late_heartbeat_sets_no_state_back(office: LedgerDriver) -> None:
    refused = {"outstanding": 7, "deadLetters": 2, "termsRefused": "currency"}
    await hear(office, OLD, MINUTE)
    await hear(office, OLD, 3 * MINUTE)
    await hear(office, OLD, 2 * MINUTE, 30 * MINUTE, **refused)

    columns = ("outstanding", "dead_letters", "terms_refused", "heartbeat_at")
    assert await till_rows(office, *columns) == {OLD.epoch: (0, 0, None, AT + 3 * MINUTE)}


async def test_late_heartbeat_does_not_withdraw_what_a_later_one_reports(
    office: LedgerDriver,
) -> None:
    await hear(office, OLD, MINUTE)
    await hear(office, OLD, 3 * MINUTE, outstanding=7, deadLetters=2)
    await hear(office, OLD, 2 * MINUTE, 30 * MINUTE)

    assert await till_rows(office, "outstanding", "dead_letters") == {OLD.epoch: (7, 2)}


async def test_numbers_that_only_a_late_heartbeat_names_count(office: LedgerDriver) -> None:
    """An older copy of the file and its mark was put back: the machine has forgotten them."""
    await hear(office, OLD, MINUTE)
    await hear(office, NEW, 3 * MINUTE, epochs=ended(0))
    await hear(office, OLD, 2 * MINUTE, HOUR, lastSequence=2)

    columns = ("last_sequence", "ended_through")
    assert (await till_rows(office, *columns))[OLD.epoch] == (2, None)
    assert Condition.UNCONFIRMED in await conditions(office)


async def test_numbers_that_have_moved_are_not_missed_again(office: LedgerDriver) -> None:
    await hear(office, OLD, MINUTE, lastSequence=2)
    await office.take(OLD, *sessions(1, 1))
    await hear(office, NEW, 3 * MINUTE, epochs=ended(1, movedThrough=2))
    await hear(office, OLD, 2 * MINUTE, HOUR, lastSequence=2)

    columns = ("last_sequence", "accepted_through", "ended_through")
    assert (await till_rows(office, *columns))[OLD.epoch] == (1, 1, 2)


async def test_machine_that_comes_back_counts_from_its_second_heartbeat(
    office: LedgerDriver,
) -> None:
    """The first one of a boot may have been on its way for long."""
    await hear(office, NEW, MINUTE, bootId="replacement", epochs=ended(0))
    for minute in (2, 3):
        await hear(office, OLD, minute * MINUTE, bootId="back")

    assert (await till_rows(office, "is_current"))[OLD.epoch] == (True,)


async def test_image_that_is_put_back_is_told_at_once_of_the_numbers_that_it_has_forgotten(
    office: LedgerDriver,
) -> None:
    """Else the agent gives them out again until its second heartbeat."""
    await hear(office, OLD, MINUTE, lastSequence=10, bootId="before")
    await office.take(OLD, *sessions(1, 5), bootId="before")
    await hear(office, NEW, 3 * MINUTE, bootId="before")

    office.at = AT + 5 * MINUTE
    answered = await office.heartbeat(OLD, lastSequence=5, bootId="put-back")

    assert answered[OLD.epoch] == 10


async def test_usual_heartbeat_runs_no_more_statements(office: LedgerDriver) -> None:
    for minute in (1, 2):
        await hear(office, OLD, minute * MINUTE)
    with recorded_statements() as statements:
        await hear(office, OLD, 3 * MINUTE)

    assert len(statements) <= 4
