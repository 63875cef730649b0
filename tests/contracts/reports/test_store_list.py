"""The list of stores is streamed in short reads, whole or by pages of stores."""

import json
from typing import Any

import pytest

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.tables import agents
from sync.receiver.reports import store_list
from sync.receiver.reports.store_list import StoreRange, is_known_store, stores_after, stores_json
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import SimulatedAgent


async def chunks(
    office: LedgerDriver, store_id: str | None = None, stores: StoreRange | None = None
) -> list[bytes]:
    return [chunk async for chunk in stores_json(office.database, store_id, stores)]


async def listed(office: LedgerDriver, store_id: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(b"".join(await chunks(office, store_id)))["stores"]
    return found


def names(tills: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    return [
        (one["storeId"], one["tillId"], [epoch["epoch"] for epoch in one["epochs"]])
        for one in tills
    ]


async def epochs(office: LedgerDriver, till: SimulatedAgent, *numbers: int) -> None:
    """Insert epochs of a till; the first is the current one."""
    rows = [
        dict.fromkeys(column.name for column in agents.c)
        | {"store_id": till.store_id, "till_id": till.till_id, "epoch": f"{number:02}"}
        | {"accepted_through": 0, "last_sequence": 1, "purged_through": 0}
        | {"is_current": True if number == numbers[0] else None}
        for number in numbers
    ]
    await office.database.write(lambda connection: insert_rows(connection, agents, rows))


@pytest.mark.parametrize(("tills_per_read", "epochs_per_read"), [(1, 1), (2, 3), (3, 2), (100, 4)])
async def test_list_is_the_same_however_many_rows_a_read_returns(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch, tills_per_read: int, epochs_per_read: int
) -> None:
    enrolment = Enrolment(office.database)
    for store_id in ("0041", "0043", "0045"):
        await issue_token(enrolment, SimulatedAgent(store_id).name, store_id.encode())
        await issue_token(enrolment, SimulatedAgent(store_id, "till-0").name, b"x")
    await epochs(office, SimulatedAgent("0042"), 4, 1, 2, 3)
    await epochs(office, SimulatedAgent("0043"), 1, 2, 3, 4, 5)
    await epochs(office, SimulatedAgent("0044", "a"), 1)
    await epochs(office, SimulatedAgent("0044", "b"), 1, 2)
    monkeypatch.setattr(store_list, "_TILLS_PER_READ", tills_per_read)
    monkeypatch.setattr(store_list, "_EPOCHS_PER_READ", epochs_per_read)

    expected = [
        ("0041", "till-0", []),
        ("0041", "till-1", []),
        ("0042", "till-1", ["01", "02", "03", "04"]),
        ("0043", "till-0", []),
        ("0043", "till-1", ["01", "02", "03", "04", "05"]),
        ("0044", "a", ["01"]),
        ("0044", "b", ["01", "02"]),
        ("0045", "till-0", []),
        ("0045", "till-1", []),
    ]
    assert names(await listed(office)) == expected
    assert names(await listed(office, "0043")) == expected[3:5]
    assert names(await listed(office, "0041")) == expected[:2]


async def test_no_chunk_grows_with_the_number_of_epochs_of_a_till(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One till that named a million epochs made 206 MB in memory."""
    monkeypatch.setattr(store_list, "_EPOCHS_PER_READ", 20)
    await epochs(office, SimulatedAgent(), *range(1, 100))

    sent = await chunks(office)

    assert len(sent) > 4
    assert max(map(len, sent)) < 20 * 500


async def test_empty_head_office_lists_no_stores(office: LedgerDriver) -> None:
    assert await listed(office) == []


async def test_stores_are_paged_with_all_their_tills(office: LedgerDriver) -> None:
    await epochs(office, SimulatedAgent("0041"), 1)
    await issue_token(Enrolment(office.database), SimulatedAgent("0042").name, b"x")
    await epochs(office, SimulatedAgent("0043", "a"), 1, 2)
    await epochs(office, SimulatedAgent("0043", "b"), 1)
    await epochs(office, SimulatedAgent("0044"), 1)

    pages, after = [], ""
    while True:
        stores = await stores_after(office.database, after, 2)
        page = json.loads(b"".join(await chunks(office, stores=stores)))
        pages.append([(one["storeId"], one["tillId"]) for one in page["stores"]])
        if "next" not in page:
            break
        after = page["next"]

    assert pages == [
        [("0041", "till-1"), ("0042", "till-1")],
        [("0043", "a"), ("0043", "b"), ("0044", "till-1")],
    ]


async def test_store_is_known_once_a_till_is_enrolled_or_reports(office: LedgerDriver) -> None:
    await issue_token(Enrolment(office.database), SimulatedAgent("0041").name, b"x")
    await office.heartbeat(SimulatedAgent("0042"))

    known = [await is_known_store(office.database, name) for name in ("0041", "0042", "0043", "\0")]

    assert known == [True, True, False, False]
