"""Two machines under one store and till id, as after a disk was cloned, are noticed."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from sync.protocol.wire import HeartbeatAnswer
from sync.receiver.db.tables import AgentRecord
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.store_list import stores_json
from sync.receiver.reports.tills import Reference, list_tills
from tests.support.head_office.citus import recorded_statements
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session
from tests.support.log_fields import fields_of

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86_400))
MICROSECOND = timedelta(microseconds=1)
TILL = SimulatedAgent()
OTHER_EPOCH = "0b4d5f1e-7f0a-4f0e-8f43-1c1c4d9a7e21"


@dataclass(frozen=True)
class Machine:
    """A machine that was booted so long after `AT`."""

    boot_id: str
    booted: timedelta = timedelta(0)
    epoch: str = TILL.epoch
    run_id: str | None = None

    @property
    def agent(self) -> SimulatedAgent:
        return replace(TILL, epoch=self.epoch)

    async def is_told(
        self, office: LedgerDriver, sent: timedelta, received: timedelta | None = None
    ) -> bool:
        """Send a heartbeat at this time; return True if the answer tells of another machine."""
        office.at = AT + (sent if received is None else received)
        answer = await office.offer_heartbeat(
            self.agent,
            bootId=self.boot_id,
            sentMonotonicUs=(sent - self.booted) // MICROSECOND,
            **({"runId": self.run_id} if self.run_id else {}),
        )
        assert isinstance(answer, HeartbeatAnswer)
        return answer.shared_name


async def conditions(office: LedgerDriver) -> tuple[Condition, ...]:
    """Return the conditions of the till now."""
    reference = Reference(office.at, "0.1.0")
    (till,) = await office.database.read(lambda connection: list_tills(connection, reference))
    return till.conditions


async def interleave(office: LedgerDriver, *machines: Machine, minutes: int = 5) -> list[bool]:
    """Let the machines send a heartbeat each minute; return the last answer to each."""
    for minute in range(minutes):
        told = [
            await one.is_told(office, minute * MINUTE + (10 + 20 * number) * SECOND)
            for number, one in enumerate(machines)
        ]
    return told


async def test_two_machines_with_one_database_are_both_told(office: LedgerDriver) -> None:
    assert await interleave(office, Machine("a"), Machine("b")) == [True, True]
    assert Condition.SHARED_NAME in await conditions(office)
    listed = b"".join([chunk async for chunk in stores_json(office.database)])
    (store,) = json.loads(listed)["stores"]
    (epoch,) = store["epochs"]
    assert epoch["sharedNameAt"] == "2026-03-04T05:10:37.000Z"


async def test_second_machine_is_in_the_log_of_head_office_once(
    office: LedgerDriver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    await interleave(office, Machine("a"), Machine("b"), minutes=20)

    assert fields_of(caplog, "agent.name_shared") == [{"store": "0042", "till": "till-1"}]


async def test_two_machines_in_epochs_of_their_own_are_both_told(office: LedgerDriver) -> None:
    machines = Machine("a"), Machine("b", epoch=OTHER_EPOCH)

    assert await interleave(office, *machines) == [True, True]
    assert Condition.SHARED_NAME in await conditions(office)


async def test_two_containers_that_share_the_boot_of_their_host_are_both_told(
    office: LedgerDriver,
) -> None:
    machines = Machine("host"), Machine("host", epoch=OTHER_EPOCH)

    assert await interleave(office, *machines) == [True, True]


async def test_two_agents_on_one_host_with_copies_of_one_database_are_both_told(
    office: LedgerDriver,
) -> None:
    """They capture nothing: boot and epoch are the same, and only the processes are two."""
    machines = Machine("host", run_id="a"), Machine("host", run_id="b")

    assert await interleave(office, *machines) == [True, True]
    assert Condition.SHARED_NAME in await conditions(office)


async def test_agent_that_is_restarted_or_upgraded_again_and_again_is_one_machine(
    office: LedgerDriver,
) -> None:
    for number in range(12):
        machine = Machine("host", run_id=f"run-{number}" if number else None)
        for second in (1, 31):
            assert not await machine.is_told(office, number * MINUTE + second * SECOND)


async def test_epochs_of_one_process_are_one_machine(office: LedgerDriver) -> None:
    """For example heartbeats that the line has put out of order."""
    for number in range(12):
        epoch = OTHER_EPOCH if number % 2 else TILL.epoch
        assert not await Machine("host", epoch=epoch, run_id="a").is_told(office, number * MINUTE)


async def test_new_epochs_do_not_hide_that_the_name_is_shared(office: LedgerDriver) -> None:
    await interleave(office, Machine("a"), Machine("b"))
    anew = Machine("a", epoch=OTHER_EPOCH)
    office.at = AT + 6 * MINUTE
    await office.take(anew.agent, session(1), bootId="a")

    assert Condition.SHARED_NAME in await conditions(office)
    assert await anew.is_told(office, 6 * MINUTE + SECOND)
    assert Condition.SHARED_NAME in await conditions(office)


async def test_it_ends_when_only_one_machine_was_heard_for_a_day(office: LedgerDriver) -> None:
    await interleave(office, Machine("a"), Machine("b"))
    left = Machine("a")

    assert await left.is_told(office, 6 * MINUTE)
    assert await left.is_told(office, DAY)
    assert not await left.is_told(office, DAY + 7 * MINUTE)
    assert Condition.SHARED_NAME not in await conditions(office)


async def test_it_begins_again_with_the_next_interleaving(office: LedgerDriver) -> None:
    await interleave(office, Machine("a"), Machine("b"))
    for hour in range(1, 50):
        await Machine("a").is_told(office, hour * HOUR)

    told = [
        await Machine(boot_id).is_told(office, 50 * HOUR + number * MINUTE)
        for number, boot_id in enumerate("bababa")
    ]

    assert told == [False, False, True, True, True, True]


async def test_reboots_and_restarts_are_one_machine(office: LedgerDriver) -> None:
    """Each boot has an id of its own; the first word of one may be a batch."""
    for number in range(12):
        booted = Machine(f"boot-{number}", number * HOUR)
        office.at = AT + number * HOUR
        await office.take(booted.agent, bootId=booted.boot_id, sentMonotonicUs=0)
        for minute in (1, 2, 3):
            assert not await booted.is_told(office, number * HOUR + minute * MINUTE)


async def test_image_that_is_put_back_again_and_again_is_one_machine(office: LedgerDriver) -> None:
    for number in range(12):
        epoch = OTHER_EPOCH if number % 2 else TILL.epoch
        restored = Machine(f"boot-{number}", number * HOUR, epoch)
        for minute in (1, 2, 3):
            assert not await restored.is_told(office, number * HOUR + minute * MINUTE)


async def test_older_database_put_back_once_within_a_boot_is_one_machine(
    office: LedgerDriver,
) -> None:
    one, other = Machine("a"), Machine("a", epoch=OTHER_EPOCH)
    for number, machine in enumerate([one, one, other, other, one, one, other, other]):
        assert not await machine.is_told(office, number * MINUTE)


async def test_delayed_and_repeated_heartbeats_are_no_other_machine(office: LedgerDriver) -> None:
    before, now = Machine("before"), Machine("now", HOUR, OTHER_EPOCH)
    for minute in range(10):
        await before.is_told(office, minute * MINUTE)
    for minute in range(1, 10):
        assert not await now.is_told(office, HOUR + minute * MINUTE)
        late = HOUR + minute * MINUTE + 30 * SECOND
        assert not await before.is_told(office, minute * MINUTE, received=late)

    assert Condition.SHARED_NAME not in await conditions(office)


async def test_delayed_heartbeats_of_an_epoch_before_are_no_other_machine(
    office: LedgerDriver,
) -> None:
    before, now = Machine("a"), Machine("a", epoch=OTHER_EPOCH)
    for minute in range(10):
        await before.is_told(office, minute * MINUTE)
    for minute in range(11, 20):
        assert not await now.is_told(office, minute * MINUTE)
        late = minute * MINUTE + 30 * SECOND
        assert not await before.is_told(office, 10 * MINUTE, received=late)


async def test_heartbeat_of_an_agent_that_restarts_is_passed_by_that_of_the_next_process(
    office: LedgerDriver,
) -> None:
    """Less late than latency can be; it comes back once, and the next process after it."""
    for number in range(4):
        start = number * HOUR
        before, now = (Machine("a", run_id=f"run-{number + one}") for one in (0, 1))
        for minute in (0, 1, 2):
            assert not await before.is_told(office, start + minute * MINUTE)
        sent = start + 3 * MINUTE
        assert not await now.is_told(office, sent + SECOND)
        assert not await before.is_told(office, sent, received=sent + 1.5 * SECOND)
        assert not await now.is_told(office, sent + MINUTE)


async def test_receivers_with_clocks_apart_make_no_second_machine(office: LedgerDriver) -> None:
    for minute in range(20):
        booted = Machine(f"boot-{minute // 10}", minute // 10 * 10 * MINUTE)
        apart = 20 * SECOND if minute % 2 else -20 * SECOND
        sent = (minute + 1) * MINUTE
        assert not await booted.is_told(office, sent, received=sent + apart)


async def test_receiver_of_the_version_before_knows_the_speaker_that_names_its_process(
    office: LedgerDriver,
) -> None:
    """It compares `speaker` with boot and epoch: each turn of the two was a return to it."""
    machine = Machine("a", run_id="run-1")
    for minute in range(6):
        assert not await machine.is_told(office, minute * MINUTE)
        assert await office.rows(AgentRecord, "speaker") == [(f"a {TILL.epoch}",)]


async def test_usual_heartbeat_runs_no_more_statements(office: LedgerDriver) -> None:
    machine = Machine("a")
    for minute in range(3):
        await machine.is_told(office, minute * MINUTE)
    with recorded_statements() as statements:
        await machine.is_told(office, 4 * MINUTE)

    assert len(statements) <= 4
