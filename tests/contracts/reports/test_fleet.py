"""The fleet page's queries: conditions, filters, sort order, pagination."""

from datetime import timedelta

import pytest

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.tables import AgentRecord, table_of
from sync.receiver.ingest.agent_transaction import MAX_NEW_EPOCHS
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import STORES_PER_PAGE, FleetPage, FleetQuery, Sort, fleet_page
from sync.receiver.reports.fleet_figures import fleet_figures
from sync.receiver.reports.store_details import StoreDetails, store_details
from sync.receiver.reports.tills import Reference, list_tills, till_pages
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, EPOCH, SimulatedAgent, answer, session, wire_time

OWN_VERSION = "0.1.0"
GIB = 1024**3
HEALTHY: dict[str, object] = {"freeBytes": GIB}


async def read_page(office: LedgerDriver, **query: object) -> FleetPage:
    """Return a page of the fleet at the office's time."""
    parsed = FleetQuery(**query)  # type: ignore[arg-type] # checked by its fields' names
    return await office.database.read(
        lambda connection: fleet_page(connection, Reference(office.at, OWN_VERSION), parsed)
    )


async def read_details(office: LedgerDriver, store_id: str) -> StoreDetails | None:
    """Return the details of a store at the office's time."""
    return await office.database.read(
        lambda connection: store_details(connection, Reference(office.at, OWN_VERSION), store_id)
    )


def names(found: FleetPage) -> list[str]:
    return [store.store_id for store in found.stores]


CONDITIONS = [
    pytest.param({}, {Condition.DELIVERING}, id="healthy"),
    pytest.param({"deadLetters": 1}, {Condition.DEAD_LETTERS}, id="a dead letter"),
    pytest.param({"freeBytes": GIB // 4}, {Condition.DISK_LOW}, id="little disk space"),
    pytest.param({"freeBytes": 0}, {Condition.DISK_LOW}, id="no disk space"),
    pytest.param({"sentAt": wire_time(301)}, {Condition.CLOCK_WRONG}, id="a clock ahead"),
    pytest.param({"sentAt": "1970-01-01T00:00:00Z"}, {Condition.CLOCK_WRONG}, id="a clock at 1970"),
    pytest.param({"sentAt": wire_time(-299)}, {Condition.DELIVERING}, id="a clock a little behind"),
    pytest.param({"sentAt": "noon"}, {Condition.DELIVERING}, id="an unreadable clock"),
    pytest.param(
        {"outstanding": 3, "oldestUndeliveredAt": wire_time(-301)}, {Condition.BEHIND}, id="behind"
    ),
    pytest.param(
        {"outstanding": 3, "oldestUndeliveredAt": wire_time(-299)},
        {Condition.DELIVERING},
        id="delivering",
    ),
    pytest.param(
        {
            "sentAt": wire_time(9000),
            "outstanding": 1,
            "oldestUndeliveredAt": wire_time(9000 - 301),
        },
        {Condition.CLOCK_WRONG, Condition.BEHIND},
        id="behind by its own wrong clock",
    ),
    pytest.param(
        {"agentVersion": "0.0.9"},
        {Condition.DELIVERING, Condition.OTHER_VERSION},
        id="another version",
    ),
]


@pytest.mark.parametrize(("members", "expected"), CONDITIONS)
async def test_heartbeat_determines_the_conditions_of_the_store(
    office: LedgerDriver, members: dict[str, object], expected: set[Condition]
) -> None:
    await office.heartbeat(SimulatedAgent(), **(HEALTHY | members))

    found = await read_page(office)

    assert {one for one in Condition if found.counts[one]} == expected
    for one in expected:
        assert names(await read_page(office, condition=one)) == ["0042"]


async def test_store_is_silent_after_five_minutes_without_contact(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent(), **HEALTHY)

    office.at += timedelta(minutes=5)
    still = (await read_page(office)).stores[0].state
    office.at += timedelta(seconds=1)
    silent = (await read_page(office)).stores[0].state

    assert (still, silent) == (Condition.DELIVERING, Condition.SILENT)


async def test_till_that_begins_too_many_epochs_is_shown_until_it_stops(
    office: LedgerDriver,
) -> None:
    older = [{"epoch": f"{number:03}", "lastSequence": 1} for number in range(200)]
    await office.heartbeat(SimulatedAgent(), **HEALTHY, epochs=older)
    refused = (await read_page(office)).stores[0].state
    office.at += timedelta(hours=2)
    await office.heartbeat(SimulatedAgent(), **HEALTHY, sentAt=wire_time(7200))

    assert refused == Condition.TOO_MANY_EPOCHS
    assert (await read_page(office)).stores[0].state == Condition.DELIVERING


async def test_what_a_clock_ahead_noted_is_no_condition_for_years(office: LedgerDriver) -> None:
    """Head office's clock was a year ahead for a while; since then the till is silent."""
    older = [{"epoch": f"{number:03}", "lastSequence": 1} for number in range(200)]
    year_seconds = 365 * 86_400
    for number, boot_id in enumerate("ababab"):
        office.at = AT + timedelta(seconds=year_seconds + 10 * number)
        sent: dict[str, object] = {"sentMonotonicUs": 10_000_000 * number}
        sent |= {"sentAt": wire_time(year_seconds), "bootId": boot_id}
        await office.heartbeat(SimulatedAgent(), **HEALTHY, epochs=older, **sent)
    ahead = (await read_page(office)).stores[0].state
    office.at = AT

    assert ahead == Condition.SHARED_NAME
    tills = await office.database.read(
        lambda connection: list_tills(connection, Reference(office.at, OWN_VERSION))
    )
    # While two machines were heard, neither's word confirmed the older epochs.
    assert [one.conditions for one in tills] == [(Condition.SILENT, Condition.UNCONFIRMED)]


async def test_till_whose_epochs_are_refused_is_not_silent_while_it_sends_heartbeats(
    office: LedgerDriver,
) -> None:
    """The page sent people after the line, when the machine's database was at fault."""
    epochs = [{"epoch": f"old-{number}", "lastSequence": 1} for number in range(MAX_NEW_EPOCHS)]
    await office.heartbeat(SimulatedAgent(), epochs=epochs)
    office.at += timedelta(hours=1)

    await office.offer_heartbeat(SimulatedAgent(epoch="further"))

    assert (await read_page(office)).stores[0].state == Condition.TOO_MANY_EPOCHS


async def test_store_with_an_unconfirmed_epoch_shows_it_until_its_machine_says_that_this_was_all(
    office: LedgerDriver,
) -> None:
    await office.heartbeat(SimulatedAgent(epoch="old"), **HEALTHY)
    await office.heartbeat(SimulatedAgent(), **HEALTHY)
    before = await read_page(office)
    figures = await office.database.read(
        lambda connection: fleet_figures(connection, Reference(office.at, OWN_VERSION))
    )
    details = await read_details(office, "0042")

    named = [{"epoch": "old", "lastSequence": 0}]
    await office.heartbeat(SimulatedAgent(), **HEALTHY, epochs=named)

    assert before.stores[0].state == Condition.UNCONFIRMED
    assert (figures.unconfirmed_epochs, figures.stores_in[Condition.UNCONFIRMED]) == (1, 1)
    assert details is not None
    assert details.tills[0].unconfirmed_epochs == 1
    assert (await read_page(office)).stores[0].state == Condition.DELIVERING


async def test_store_with_many_newer_epochs_still_lists_its_unconfirmed_one(
    office: LedgerDriver,
) -> None:
    await office.heartbeat(SimulatedAgent(epoch="old"), **HEALTHY)
    office.at += timedelta(minutes=1)
    named = [{"epoch": f"e{number}", "lastSequence": 0} for number in range(MAX_NEW_EPOCHS - 2)]
    await office.heartbeat(SimulatedAgent(), **HEALTHY)
    office.at += timedelta(hours=25)
    for some in (named[:50], named[50:]):
        await office.heartbeat(SimulatedAgent(), **HEALTHY, epochs=some)
    office.at += timedelta(hours=25)
    await office.heartbeat(
        SimulatedAgent(), **HEALTHY, epochs=[one | {"epoch": f"{one['epoch']}b"} for one in named]
    )

    details = await read_details(office, "0042")

    assert details is not None
    assert "old" in [row.epoch for row in details.epochs]


async def test_batch_of_an_older_epoch_counts_as_contact(office: LedgerDriver) -> None:
    await office.take(SimulatedAgent(epoch="old"), session(1))
    await office.heartbeat(SimulatedAgent(), **HEALTHY)
    office.at += timedelta(minutes=10)
    await office.take(SimulatedAgent(epoch="old"), session(2), endsEpoch=True)

    (store,) = (await read_page(office)).stores

    assert (store.state, store.last_contact_at) == (Condition.DELIVERING, office.at)


async def test_age_of_the_backlog_grows_while_an_older_epoch_lacks_events(
    office: LedgerDriver,
) -> None:
    """The heartbeat reported the age; its oldest event has not arrived since."""
    older = [{"epoch": "old", "lastSequence": 3}]
    waiting: dict[str, object] = {"outstanding": 3, "oldestUndeliveredAt": wire_time(-240)}
    await office.heartbeat(SimulatedAgent(), **HEALTHY, **waiting, epochs=older)
    office.at += timedelta(minutes=4)

    (store,) = (await read_page(office)).stores

    assert (store.state, store.oldest_age) == (Condition.BEHIND, timedelta(minutes=8))


async def test_batch_counts_as_contact(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent(), **HEALTHY)
    office.at += timedelta(minutes=10)
    await office.take(SimulatedAgent(), session(1))

    (store,) = (await read_page(office)).stores

    assert (store.state, store.last_contact_at) == (Condition.DELIVERING, office.at)


async def test_two_machines_under_one_name_stand_on_the_fleet_page_by_name(
    office: LedgerDriver,
) -> None:
    for _ in range(4):
        for boot_id in ("one", "other"):
            office.at += timedelta(minutes=1)
            since_us = (office.at - AT) // timedelta(microseconds=1)
            sent: dict[str, object] = {"sentMonotonicUs": since_us, "bootId": boot_id}
            await office.heartbeat(SimulatedAgent("0042", "till-7"), **(HEALTHY | sent))
            await office.heartbeat(SimulatedAgent("0042", "till-8"), **HEALTHY)

    assert (await read_page(office)).shared_names == [AgentName("0042", "till-7")]
    office.at += timedelta(days=2)
    assert (await read_page(office)).shared_names == ()


async def test_enrolled_till_without_contact_is_not_yet_installed(office: LedgerDriver) -> None:
    await issue_token(Enrolment(office.database), SimulatedAgent().name, b"secret")

    (store,) = (await read_page(office)).stores

    never = (Condition.NOT_INSTALLED, None, ())
    assert (store.state, store.last_contact_at, store.versions) == never


async def test_store_with_tills_that_deliver_and_that_are_not_installed_delivers(
    office: LedgerDriver,
) -> None:
    """In a roll-out, the second till of a store is installed days after the first one."""
    enrolment = Enrolment(office.database)
    for store_id, till_id in (("0042", "till-2"), ("0043", "till-1")):
        await issue_token(enrolment, AgentName(store_id, till_id), till_id.encode())
    await office.heartbeat(SimulatedAgent(), **HEALTHY)

    page = await read_page(office)

    new, both = page.stores
    assert [one.store_id for one in page.stores] == ["0043", "0042"], "the state sorts alike"
    assert new.state is Condition.NOT_INSTALLED
    assert (both.state, both.tills, both.tills_in[Condition.NOT_INSTALLED]) == (
        Condition.DELIVERING,
        2,
        1,
    )
    assert page.counts[Condition.DELIVERING] == 1
    found = await read_page(office, condition=Condition.DELIVERING)
    assert [one.store_id for one in found.stores] == ["0042"]
    waiting = await read_page(office, condition=Condition.NOT_INSTALLED)
    assert len(waiting.stores) == 2, "what is still to be installed is found"


async def test_latest_epoch_determines_the_state_of_its_till(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent(epoch="old"), **HEALTHY, deadLetters=7, outstanding=7)
    office.at += timedelta(minutes=1)
    named = [{"epoch": "old", "lastSequence": 0}]
    await office.heartbeat(SimulatedAgent(), **HEALTHY, sentAt=wire_time(60), epochs=named)

    (store,) = (await read_page(office)).stores

    assert (store.state, store.backlog, store.dead_letters, store.tills) == (
        Condition.DELIVERING,
        0,
        0,
        1,
    )


async def test_store_has_the_conditions_of_all_its_tills(office: LedgerDriver) -> None:
    healthy, faulty = SimulatedAgent(), SimulatedAgent(till_id="till-2")
    await office.heartbeat(healthy, **HEALTHY, outstanding=2)
    await office.heartbeat(faulty, **HEALTHY, outstanding=3, deadLetters=4, agentVersion="0.2.0")

    (store,) = (await read_page(office)).stores

    assert (store.state, store.tills, store.tills_in[Condition.DEAD_LETTERS]) == (
        Condition.DEAD_LETTERS,
        2,
        1,
    )
    assert (store.backlog, store.dead_letters, store.versions) == (5, 4, ("0.1.0", "0.2.0"))


def behind(waiting: int, at: timedelta = timedelta()) -> dict[str, object]:
    """Return heartbeat members of a till whose oldest event is an hour old."""
    seconds = at.total_seconds()
    since = {"oldestUndeliveredAt": wire_time(seconds - 3600), "sentAt": wire_time(seconds)}
    return {**HEALTHY, **since, "outstanding": waiting}


@pytest.mark.parametrize(
    ("first", "then", "left"),
    [
        (300, 200, timedelta(minutes=2)),
        (300, 299, timedelta(minutes=299)),
        (300, 300, None),
        (300, 301, None),
        (2**40, 2**40 - 1, None),
    ],
)
async def test_time_to_empty_backlog_is_extrapolated_from_two_heartbeats(
    office: LedgerDriver, first: int, then: int, left: timedelta | None
) -> None:
    minute = timedelta(minutes=1)
    await office.heartbeat(SimulatedAgent(), **behind(first))
    office.at += minute
    await office.heartbeat(SimulatedAgent(), **behind(then, minute))

    (store,) = (await read_page(office)).stores
    shown = await read_details(office, "0042")

    assert store.time_to_empty == left
    assert store.oldest_age == timedelta(hours=1)
    assert shown is not None
    assert [till.time_to_empty for till in shown.tills] == [left]


async def test_time_to_empty_backlog_of_a_store_is_that_of_its_slowest_till(
    office: LedgerDriver,
) -> None:
    minute, slow, stuck = (
        timedelta(minutes=1),
        SimulatedAgent(till_id="slow"),
        SimulatedAgent(till_id="stuck"),
    )
    await office.heartbeat(SimulatedAgent(), **behind(300))
    await office.heartbeat(slow, **behind(300))
    office.at += minute
    await office.heartbeat(SimulatedAgent(), **behind(100, minute))
    await office.heartbeat(slow, **behind(250, minute))
    (of_two,) = (await read_page(office)).stores
    await office.heartbeat(stuck, **behind(1, minute))
    (of_three,) = (await read_page(office)).stores

    assert (of_two.time_to_empty, of_three.time_to_empty) == (timedelta(minutes=5), None)


async def test_most_severe_condition_wins(office: LedgerDriver) -> None:
    """The default order is by severity, too: stores that need attention come first."""
    heartbeats: dict[str, dict[str, object]] = {
        "a-healthy": {},
        "a-closed": {"closed": True},
        "b-behind": {"outstanding": 1, "oldestUndeliveredAt": wire_time(-900)},
        "c-clock": {"sentAt": wire_time(900)},
        "d-disk": {"freeBytes": 1},
        "e-dead-letters": {"deadLetters": 1, "freeBytes": 1},
    }
    await issue_token(Enrolment(office.database), SimulatedAgent("a-new").name, b"secret")
    office.at -= timedelta(hours=1)
    await office.heartbeat(SimulatedAgent("f-silent"), **HEALTHY)
    office.at = AT
    for store_id, members in heartbeats.items():
        await office.heartbeat(SimulatedAgent(store_id), **(HEALTHY | members))

    down, up = await read_page(office), await read_page(office, descending=True)

    assert names(down) == [
        "f-silent",
        "e-dead-letters",
        "d-disk",
        "c-clock",
        "b-behind",
        "a-closed",
        "a-new",
        "a-healthy",
    ]
    assert names(up) == list(reversed(names(down)))


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort.STORE, "abc"),
        (Sort.LAST_CONTACT, "cab"),
        (Sort.BACKLOG, "bca"),
        (Sort.DEAD_LETTERS, "acb"),
        (Sort.VERSION, "bac"),
    ],
)
async def test_stores_can_be_sorted_by_any_column(
    office: LedgerDriver, sort: Sort, expected: str
) -> None:
    await office.heartbeat(
        SimulatedAgent("c"), **HEALTHY, outstanding=2, deadLetters=5, agentVersion="0.3.0"
    )
    office.at += timedelta(seconds=1)
    await office.heartbeat(SimulatedAgent("a"), **HEALTHY, outstanding=3, agentVersion="0.2.0")
    office.at += timedelta(seconds=1)
    await office.heartbeat(
        SimulatedAgent("b"), **HEALTHY, outstanding=1, deadLetters=9, agentVersion="0.1.0"
    )

    up, down = (
        await read_page(office, sort=sort),
        await read_page(office, sort=sort, descending=True),
    )

    assert "".join(names(up)) == expected
    assert "".join(names(down)) == expected[::-1]


async def test_store_without_contact_sorts_as_the_oldest_contact(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent("a"), **HEALTHY)
    await issue_token(Enrolment(office.database), SimulatedAgent("b").name, b"secret")

    up = await read_page(office, sort=Sort.LAST_CONTACT)
    down = await read_page(office, sort=Sort.LAST_CONTACT, descending=True)

    assert (names(up), names(down)) == (["b", "a"], ["a", "b"])


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("00", ["0042", "x_00%y"]),
        ("X_", ["x_00%y"]),
        ("%", ["x_00%y"]),
        ("_", ["x_00%y"]),
        ("\\", ["back\\slash"]),
        ("'; --", []),
    ],
)
async def test_search_matches_a_literal_part_of_the_store_name(
    office: LedgerDriver, search: str, expected: list[str]
) -> None:
    for store_id in ("0042", "x_00%y", "back\\slash"):
        await office.heartbeat(SimulatedAgent(store_id), **HEALTHY)

    found = await read_page(office, search=search, sort=Sort.STORE)

    assert names(found) == expected
    assert found.searched == len(expected)


async def test_pagination_lists_every_store_once_and_clamps_to_the_last_page(
    office: LedgerDriver,
) -> None:
    count = 2 * STORES_PER_PAGE + 1
    rows = [
        {"store_id": f"{number:04}", "till_id": "1", "epoch": EPOCH}
        | {"accepted_through": 0, "last_sequence": 0, "last_seen_at": AT, "is_current": True}
        for number in range(count)
    ]
    await office.database.write(lambda c: c.execute(table_of(AgentRecord).insert(), rows))

    pages = [await read_page(office, page=page) for page in (1, 2, 3, 99)]

    assert [name for page in pages[:3] for name in names(page)] == [
        f"{number:04}" for number in range(count)
    ]
    assert names(pages[3]) == names(pages[2])
    assert {(page.pages, page.found) for page in pages} == {(3, count)}


async def test_store_details_list_rejected_events_and_gaps(
    office: LedgerDriver,
) -> None:
    await office.take(
        SimulatedAgent(), session(3, "a"), answer(4, "a", None, "accepted"), baseSequence=3
    )
    await office.heartbeat(SimulatedAgent(), **HEALTHY, sentAt=wire_time(-600))

    shown = await read_details(office, "0042")

    assert shown is not None
    (till,) = shown.tills
    assert (till.state, till.clock_ahead) == (Condition.CLOCK_WRONG, timedelta(minutes=-10))
    assert [row.sequence for row in shown.rejections] == [4]
    assert [(row.first_sequence, row.last_sequence) for row in shown.gaps] == [(1, 2)]
    assert [row.accepted_through for row in shown.epochs] == [4]


async def test_unknown_store_has_no_details(office: LedgerDriver) -> None:
    await office.heartbeat(SimulatedAgent("0042"), **HEALTHY)

    assert await read_details(office, "0043") is None


@pytest.mark.parametrize("per_read", [1, 2, 3, 100])
async def test_pages_of_tills_are_all_tills_in_order(
    office: LedgerDriver, per_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.receiver.reports.tills.STORES_PER_READ", per_read)
    for store_id, till_id in (("0002", "b"), ("0002", "a"), ("0001", "a"), ("0003", "a")):
        await office.heartbeat(SimulatedAgent(store_id=store_id, till_id=till_id), **HEALTHY)
    await issue_token(Enrolment(office.database), SimulatedAgent("0004").name, b"secret")
    reference = Reference(office.at, OWN_VERSION)

    pages = [page async for page in till_pages(office.database, reference)]

    assert [till for page in pages for till in page] == await office.database.read(
        lambda connection: list_tills(connection, reference)
    )
    assert len(pages) == -(-4 // per_read)
