"""The audit reads a store in bounded parts, and finds the same as in one."""

import json
from collections.abc import Sequence

import pytest
from sqlalchemy import delete

from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.tables import agents, gaps, sessions
from sync.receiver.reports.completeness import audit as completeness_audit
from sync.receiver.reports.completeness.audit import audit, audit_chunks
from sync.receiver.reports.completeness.report import Scope, Totals, completeness_json
from sync.receiver.reports.completeness.state import EpochCompleteness
from sync.receiver.reports.tills import Reference
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session
from tests.support.head_office.messages import sessions as started

TILLS = [
    SimulatedAgent("0042", till, epoch)
    for till, epoch in (("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1"), ("c", "2"))
]


async def with_troubles(office: LedgerDriver) -> None:
    """Give each epoch a gap, a rejected, a missing and an outstanding event; one has no row."""
    for number, till in enumerate(TILLS):
        ids = [session(one, f"{number}-{one}") for one in (2, 3, 5)]
        await office.take(till, *ids[:2], session(4, type="x"), ids[2], baseSequence=2)
        await office.heartbeat(till, lastSequence=7)
    lost_rows = delete(sessions).where(sessions.c.sequence == 3)
    lost_epoch = delete(agents).where(agents.c.till_id == "b")
    for gone in (lost_rows, lost_epoch):
        await office.database.write(lambda c, gone=gone: c.execute(gone) and None)  # type: ignore[misc]
    await office.take(SimulatedAgent("0043"), *started(1, 2))


async def audited(office: LedgerDriver) -> list[EpochCompleteness]:
    return [epoch async for epoch in audit(office.database, None)]


async def insert_gaps(office: LedgerDriver, epochs: Sequence[str], each: int) -> None:
    row = dict.fromkeys(column.name for column in gaps.c)
    rows = [
        row
        | {"store_id": "0042", "till_id": "a", "epoch": epoch, "reason": "x", "noted_at": AT}
        | {"first_sequence": 2 * number, "last_sequence": 2 * number}
        for epoch in epochs
        for number in range(10, 10 + each)
    ]
    await office.database.write(lambda connection: insert_rows(connection, gaps, rows))


@pytest.mark.parametrize(
    ("epochs_per_read", "max_ranges"), [(1, 10_000), (2, 10_000), (5, 10_000), (256, 2)]
)
async def test_audit_is_the_same_however_much_a_read_returns(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch, epochs_per_read: int, max_ranges: int
) -> None:
    await with_troubles(office)
    expected = await audited(office)
    monkeypatch.setattr(completeness_audit, "EPOCHS_PER_READ", epochs_per_read)
    monkeypatch.setattr(completeness_audit, "MAX_RANGES", max_ranges)

    found = await audited(office)

    assert len(expected) == len(TILLS) + 1
    assert found == expected


async def test_epoch_with_too_many_ranges_is_truncated_and_says_so(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness_audit, "MAX_RANGES", 3)
    await with_troubles(office)
    await insert_gaps(office, ["2"], 10)

    by_epoch = {(one.till_id, one.epoch): one for one in await audited(office) if one.truncated}
    totals, scope = Totals(), Scope(Reference(office.at, "0.1.0"), "0042")
    body = b"".join([part async for part in completeness_json(office.database, scope, totals)])

    assert list(by_epoch) == [("a", "2")]
    assert len(by_epoch["a", "2"].gaps) == 3
    assert (totals.truncated, totals.complete) == (1, False)
    listed = {(one["tillId"], one["epoch"]): one for one in json.loads(body)["epochs"]}
    assert listed["a", "2"]["truncated"] is True
    assert "truncated" not in listed["a", "1"]


async def test_no_read_grows_with_the_epochs_and_ranges_of_a_store(
    office: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness_audit, "EPOCHS_PER_READ", 16)
    monkeypatch.setattr(completeness_audit, "MAX_RANGES", 8)
    epochs = [f"{number:02}" for number in range(40)]
    for epoch in epochs:
        await office.heartbeat(SimulatedAgent("0042", "a", epoch))
    await insert_gaps(office, epochs[:20], 5)

    chunks = [chunk async for chunk in audit_chunks(office.database, "0042")]

    assert [one.epoch for chunk in chunks for one in chunk] == epochs
    assert max(sum(len(one.gaps) for one in chunk) for chunk in chunks) <= 8
