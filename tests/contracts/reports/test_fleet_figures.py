"""Fleet-wide figures agree with the fleet page and with the tables."""

from datetime import timedelta

import pytest

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.reports import fleet_figures
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet_figures import FleetFigures, read_fleet_figures
from sync.receiver.reports.tills import Reference
from tests.contracts.reports.test_fleet import HEALTHY, OWN_VERSION, read_page
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import SimulatedAgent, erased, session, wire_time


async def read_figures(office: LedgerDriver) -> FleetFigures:
    """Return the figures at the office's time."""
    found = await read_fleet_figures(office.database, Reference(office.at, OWN_VERSION))
    assert found is not None
    return found


def backlog(seconds: float, **members: object) -> dict[str, object]:
    """Return heartbeat members of a till whose oldest event is `seconds` old."""
    oldest: dict[str, object] = {"outstanding": 1, "oldestUndeliveredAt": wire_time(-seconds)}
    return HEALTHY | oldest | members


async def test_figures_of_an_empty_fleet_are_zero(office: LedgerDriver) -> None:
    found = await read_figures(office)

    assert (found.stores, set(found.stores_in.values())) == (0, {0})
    assert (found.oldest_seconds, found.backlog, found.dead_letters) == (0, 0, 0)
    assert (found.rejected, found.gap_events) == (0, 0)


async def test_conditions_agree_with_the_fleet_page(office: LedgerDriver) -> None:
    await issue_token(Enrolment(office.database), SimulatedAgent("never").name, b"secret")
    await office.heartbeat(SimulatedAgent("quiet"), **HEALTHY)
    office.at += timedelta(minutes=6)
    heartbeats: dict[str, dict[str, object]] = {
        "well": {},
        "behind": backlog(900, sentAt=wire_time()),
        "refused": {"deadLetters": 2, "freeBytes": 1},
        "clock": {"sentAt": wire_time(9000), "agentVersion": "0.0.9"},
    }
    for store_id, members in heartbeats.items():
        await office.heartbeat(
            SimulatedAgent(store_id), **(HEALTHY | {"sentAt": wire_time(360)} | members)
        )

    found, page = await read_figures(office), await read_page(office)

    assert found.stores_in == page.counts
    assert (found.stores, found.stores_in[Condition.SILENT]) == (page.searched, 1)
    assert found.stores_in[Condition.NOT_INSTALLED] == 1


async def test_backlog_and_dead_letters_are_summed_over_all_tills(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent(), **backlog(10, outstanding=3, deadLetters=1))
    await office.heartbeat(SimulatedAgent(till_id="till-2"), **backlog(20, outstanding=4))
    await office.heartbeat(SimulatedAgent("0043"), **backlog(5, deadLetters=5))

    found = await read_figures(office)

    assert (found.backlog, found.dead_letters, found.oldest_seconds) == (
        8,
        6,
        20,
    )


async def test_oldest_event_ages_while_its_store_is_offline(office: LedgerDriver) -> None:
    await office.take(SimulatedAgent(), session(1))
    await office.heartbeat(SimulatedAgent(), **backlog(10, lastSequence=2))

    office.at += timedelta(days=3)

    assert (await read_figures(office)).oldest_seconds == 10 + 3 * 86_400
    assert (await read_page(office)).counts[Condition.BEHIND] == 1


async def test_event_received_since_the_last_heartbeat_does_not_age(office: LedgerDriver) -> None:
    """Closed for the night, just after the last event was delivered."""
    await office.take(SimulatedAgent(), session(1))
    await office.heartbeat(SimulatedAgent(), **backlog(10, lastSequence=2))
    await office.take(SimulatedAgent(), session(2))

    office.at += timedelta(hours=12)

    assert (await read_figures(office)).oldest_seconds == 10
    assert (await read_page(office)).counts[Condition.BEHIND] == 0


async def test_wrong_clock_does_not_hide_the_age_of_other_stores(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent("a"), **backlog(600))
    await office.heartbeat(
        SimulatedAgent("b"), **HEALTHY, outstanding=1, oldestUndeliveredAt="1970-01-01T00:00:00Z"
    )
    await office.heartbeat(SimulatedAgent("c"), **backlog(-86_400))

    assert (await read_figures(office)).oldest_seconds == 600


async def test_rejections_and_missing_numbers_are_counted(office: LedgerDriver) -> None:
    await office.take(
        SimulatedAgent(), session(4), erased(5, "session-4"), session(6, type="x"), baseSequence=4
    )
    await office.take(SimulatedAgent("0043"), session(1, type="x"))

    found = await read_figures(office)

    assert (found.rejected, found.gap_events) == (2, 3 + 1)


async def test_count_of_rejections_is_capped(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_figures, "MAX_COUNTED", 2)
    await office.take(SimulatedAgent(), *(session(number, type="x") for number in (1, 2, 3)))

    assert (await read_figures(office)).rejected == 2
