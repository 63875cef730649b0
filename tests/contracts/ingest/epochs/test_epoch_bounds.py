"""A till names a bounded number of epochs and boots; beyond it, it is refused by name."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, select

from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.tables import BootRecord, agents, boots, sessions
from sync.receiver.ingest.agent_transaction import (
    MAX_BOOTS,
    MAX_EPOCHS,
    MAX_NEW_EPOCHS,
    TooManyEpochs,
)
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session

TILL = SimulatedAgent()


def named(count: int, first: int = 0) -> list[dict[str, object]]:
    """Return so many older epochs, as a heartbeat names them."""
    return [
        {"epoch": f"old-{number:06}", "lastSequence": 1} for number in range(first, first + count)
    ]


async def count_epochs(office: LedgerDriver) -> int:
    return len(await office.rows_of_table(agents))


async def insert_epochs(office: LedgerDriver, count: int) -> None:
    """Insert epochs directly, as a version without a bound stored them."""
    rows = [
        dict.fromkeys(column.name for column in agents.c)
        | {"store_id": TILL.store_id, "till_id": TILL.till_id, "epoch": f"before-{number:06}"}
        | {"accepted_through": 0, "last_sequence": 1, "purged_through": 0}
        for number in range(count)
    ]
    await office.database.write(lambda connection: insert_rows(connection, agents, rows))


async def insert_boots(office: LedgerDriver, zeros: Sequence[datetime]) -> None:
    """Insert boots directly, named by their number."""
    key = {"store_id": TILL.store_id, "till_id": TILL.till_id}
    rows = [key | {"boot_id": f"{n:05}", "zero_at": zero_at} for n, zero_at in enumerate(zeros)]
    await office.database.write(lambda connection: connection.execute(insert(boots), rows))


async def test_epochs_that_heartbeats_name_are_bounded_within_a_day(office: LedgerDriver) -> None:
    for first in range(0, 5 * MAX_NEW_EPOCHS, MAX_NEW_EPOCHS):
        await office.heartbeat(TILL, epochs=named(MAX_NEW_EPOCHS, first))

    assert await count_epochs(office) == MAX_NEW_EPOCHS


async def test_heartbeat_beyond_the_bound_still_counts_for_the_known_epochs(
    office: LedgerDriver,
) -> None:
    await office.heartbeat(TILL)
    office.at += timedelta(minutes=1)

    answered = await office.heartbeat(TILL, lastSequence=7, epochs=named(2 * MAX_NEW_EPOCHS))

    assert len(answered) == MAX_NEW_EPOCHS
    assert answered[TILL.epoch] == 0
    found = [row for row in await office.rows_of_table(agents) if row["is_current"]]
    assert [(row["last_sequence"], row["last_seen_at"]) for row in found] == [(7, office.at)]


async def test_new_epoch_beyond_the_bound_is_refused_by_name_and_nothing_is_stored(
    office: LedgerDriver,
) -> None:
    await office.heartbeat(TILL, epochs=named(MAX_NEW_EPOCHS))
    further = SimulatedAgent(epoch="further")

    assert await office.offer(further, session(1)) == TooManyEpochs()
    assert await office.offer_heartbeat(further) == TooManyEpochs()

    assert await count_epochs(office) == MAX_NEW_EPOCHS
    assert await office.rows_of_table(sessions) == []


async def test_refused_epoch_is_accepted_when_the_day_has_passed(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, epochs=named(MAX_NEW_EPOCHS))
    further = SimulatedAgent(epoch="further")
    assert await office.offer(further, session(1)) == TooManyEpochs()

    office.at += timedelta(hours=24)

    await office.take(further, session(1))


async def test_epochs_in_all_are_bounded(office: LedgerDriver) -> None:
    await insert_epochs(office, MAX_EPOCHS - 1)
    await office.heartbeat(TILL)

    assert await office.offer(SimulatedAgent(epoch="further"), session(1)) == TooManyEpochs()
    await office.take(TILL, session(1))
    await office.take(SimulatedAgent(till_id="till-2"), session(1, "another"))


async def test_refusal_is_noted_with_the_till_once_an_hour(
    office: LedgerDriver, caplog: pytest.LogCaptureFixture
) -> None:
    await office.heartbeat(TILL, epochs=named(MAX_NEW_EPOCHS - 1))
    further = SimulatedAgent(epoch="further")

    for _ in range(5):
        await office.offer(further, session(1))

    found = [
        row["epochs_refused_at"] for row in await office.rows_of_table(agents) if row["is_current"]
    ]
    assert found == [AT]
    assert caplog.messages == ["agent.too_many_epochs"]


async def test_boots_of_a_till_are_bounded_to_the_newest(office: LedgerDriver) -> None:
    await insert_boots(office, [AT + timedelta(hours=number) for number in range(MAX_BOOTS)])
    office.at += timedelta(days=365)

    for number in range(5):
        await office.heartbeat(TILL, bootId=f"new-{number}", sentMonotonicUs=1_000_000)

    kept = [row["boot_id"] for row in await office.rows_of_table(boots)]
    assert kept == [
        *(f"{number:05}" for number in range(5, MAX_BOOTS)),
        *(f"new-{number}" for number in range(5)),
    ]


async def test_boots_from_before_the_bound_are_deleted_little_by_little(
    office: LedgerDriver,
) -> None:
    """A million rows must not be deleted while all others wait."""
    await insert_boots(office, [AT - timedelta(minutes=number) for number in range(3_000)])

    await office.heartbeat(TILL, bootId="new", sentMonotonicUs=0)
    after_one = len(await office.rows_of_table(boots))
    for number in range(10):
        await office.heartbeat(TILL, bootId=f"newer-{number}", sentMonotonicUs=0)
    kept = {row["boot_id"] for row in await office.rows_of_table(boots)}

    assert 2_000 <= after_one < 3_000
    assert len(kept) == MAX_BOOTS
    assert {"new", "newer-9", "00000", "00100"} <= kept


async def test_boot_is_not_stored_again_if_its_zero_point_is_the_same(office: LedgerDriver) -> None:
    await office.heartbeat(TILL, sentMonotonicUs=10_000_000)
    await office.heartbeat(TILL, sentMonotonicUs=9_999_000)

    assert await office.rows(BootRecord, "zero_at") == [(AT - timedelta(seconds=10),)]


async def test_each_till_has_one_current_epoch(office: LedgerDriver) -> None:
    """The one that its last heartbeat reports; until then the first one that it names."""

    async def current() -> list[object]:
        statement = select(agents.c.epoch).where(agents.c.is_current.is_not(None))
        return await office.database.read(lambda c: list(c.execute(statement).scalars()))

    old, new = SimulatedAgent(epoch="b"), SimulatedAgent(epoch="a")
    await office.take(old, session(1))
    first = await current()
    await office.take(new, session(1, "other"))
    second = await current()
    await office.heartbeat(old, epochs=[{"epoch": "a", "lastSequence": 1}])
    restored = await current()

    assert (first, second, restored) == (["b"], ["a"], ["b"])


async def test_till_of_a_receiver_of_the_version_before_gets_its_current_epoch(
    office: LedgerDriver,
) -> None:
    """Such a receiver inserts epochs without the mark, in a rolling upgrade."""
    await office.heartbeat(TILL)
    unmarked = {"store_id": TILL.store_id, "till_id": TILL.till_id, "epoch": "next"}
    row = unmarked | {"accepted_through": 0, "last_sequence": 0}
    await office.database.write(
        lambda connection: connection.execute(insert(agents), [row]) and None
    )

    await office.heartbeat(SimulatedAgent(epoch="next"))

    assert {row["epoch"]: row["is_current"] for row in await office.rows_of_table(agents)} == {
        "next": True,
        TILL.epoch: None,
    }
