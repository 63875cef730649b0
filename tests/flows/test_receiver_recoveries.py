"""Receiver or agent is restored from an old copy: missing events are sent again or recorded as
gaps.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from agent.store.retention.retention import RetentionDays
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.ingest.ledger_state import ADDRESS_ERASED
from sync.receiver.ingest.placement import NO_LONGER_HELD
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import EpochCompleteness
from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import query
from tests.support.clocks import WallClock
from tests.support.shop.receivers import RestartableReceiver
from tests.support.shop.records import records_in
from tests.support.shop.shop import Shop, shop_at, until_there
from tests.support.shop.verdict import StoredRecord, judge
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.slow

FAR_FUTURE_US = 2**53
REJECTED = "SELECT sequence FROM rejections"
HEARD = "SELECT epoch FROM agents WHERE is_current AND free_bytes IS NOT NULL"
TOLD = "SELECT epoch FROM agents WHERE is_current IS NULL AND ended_reason IS NOT NULL"
GAPS = "SELECT first_sequence, last_sequence, reason FROM gaps ORDER BY first_sequence"


class HeadOffice:
    """A receiver, and shops of the one agent enrolled there."""

    def __init__(self, receiver: RestartableReceiver, token_file: Path) -> None:
        self.receiver = receiver
        self._token_file = token_file

    def shop(
        self, directory: Path, ledger: TillLedger | None = None, *, keeps_addresses: bool = False
    ) -> AbstractAsyncContextManager[Shop]:
        """Open a shop with this storage directory."""
        return shop_at(
            directory,
            self.receiver.url,
            "batch",
            ledger,
            keeps_addresses=keeps_addresses,
            token_file=self._token_file,
        )

    def records(self) -> list[StoredRecord]:
        """Return the receiver's records."""
        return records_in(self.receiver.database)


@pytest.fixture
async def head_office(tmp_path: Path) -> AsyncIterator[HeadOffice]:
    async with RestartableReceiver(tmp_path / "receiver") as receiver:
        yield HeadOffice(receiver, await receiver.enroll())


async def purge_all(directory: Path) -> None:
    """Purge all delivered events of a stopped agent."""
    clock, nothing = WallClock(FAR_FUTURE_US), RetentionDays(delivered_days=0, email_days=0)
    async with outbox_on(directory, clock=clock, retention=nothing) as rig:
        while await rig.outbox.retention.purge_once():
            pass


async def test_receiver_restored_from_backup_gets_missing_events(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    async with head_office.shop(tmp_path / "state", keeps_addresses=True) as shop:
        await shop.trade(20)
        await shop.delivered()
        copy = await head_office.receiver.back_up()
        await shop.trade(20)
        await shop.delivered()
        await head_office.receiver.restore(copy)
        await shop.trade(1)
        records = await until_there(head_office.records, 2 * 41)
    verdict = judge(shop.ledger, records)
    assert verdict.is_clean, verdict
    assert head_office.receiver.rows(GAPS) == []


async def test_receiver_restored_from_backup_gets_missing_events_without_a_capture(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    """The agent detects the restore with the first heartbeat after its start."""
    copy = await head_office.receiver.back_up()
    async with head_office.shop(tmp_path / "state", keeps_addresses=True) as shop:
        await shop.trade(20)
        await shop.delivered()
    await head_office.receiver.restore(copy)
    async with head_office.shop(tmp_path / "state", shop.ledger, keeps_addresses=True):
        records = await until_there(head_office.records, 2 * 20)
    verdict = judge(shop.ledger, records)
    assert verdict.is_clean, verdict


async def test_receiver_restored_to_a_rejection_gets_the_event_again(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    """The accepted sequence does not show the restore."""
    receiver, clash = head_office.receiver, {"correlationId": str(uuid4())}
    async with head_office.shop(tmp_path / "before") as before:
        await before.agent.start_session({**clash, "channel": "kiosk"})
        await before.delivered()
    async with head_office.shop(tmp_path / "state", keeps_addresses=True) as shop:
        await shop.agent.start_session(clash)
        await shop.trade(5)
        await shop.until(waiting=0, deadLetters=1)
        copy = await receiver.back_up(but="DELETE FROM sessions WHERE channel = 'kiosk'")
        (letter,) = await shop.dead_letters()
        await shop.retry(letter)
        await shop.until(waiting=0, deadLetters=0)
    assert receiver.rows(REJECTED) == []
    await receiver.restore(copy)
    assert receiver.rows(REJECTED) == [(letter["sequence"],)]
    async with head_office.shop(tmp_path / "state", shop.ledger, keeps_addresses=True) as shop:
        await until_there(head_office.records, 2 * 5 + 1)
        await shop.until(waiting=0, deadLetters=0)
    assert receiver.rows(REJECTED) == []
    started = receiver.rows("SELECT channel, correlation_id FROM sessions")
    assert (None, clash["correlationId"]) in started


async def test_erased_addresses_are_recorded_as_gaps_after_restore(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    copy = await head_office.receiver.back_up()
    async with head_office.shop(tmp_path / "state") as shop:
        await shop.trade(2, tills=1)
        await shop.delivered()
    await head_office.receiver.restore(copy)
    async with head_office.shop(tmp_path / "state", shop.ledger):
        await until_there(head_office.records, 4)
    answers = "SELECT sequence, status, email_address, address_erased FROM email_answers"
    assert head_office.receiver.rows(answers) == [
        (2, "accepted", None, 1),
        (4, "accepted", None, 1),
    ]
    assert head_office.receiver.rows(GAPS) == [(2, 2, ADDRESS_ERASED), (4, 4, ADDRESS_ERASED)]


async def test_purged_events_are_recorded_as_permanent_gap(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    async with head_office.shop(tmp_path / "state") as shop:
        await shop.trade(5)
        await shop.delivered()
        copy = await head_office.receiver.back_up()
        await shop.trade(5)
        await shop.delivered()
    await purge_all(tmp_path / "state")
    await head_office.receiver.restore(copy)
    async with head_office.shop(tmp_path / "state", TillLedger()) as later:
        await later.trade(5)
        await until_there(head_office.records, 2 * 10)
        await later.delivered()
    await head_office.receiver.stop()
    await head_office.receiver.start()
    async with head_office.shop(tmp_path / "state", later.ledger) as later:
        await later.trade(1)
        records = await until_there(head_office.records, 2 * 11)
    assert head_office.receiver.rows(GAPS) == [(11, 20, NO_LONGER_HELD)]
    assert len(judge(shop.ledger, records).lost) == 10
    assert not judge(later.ledger, records).lost


async def test_emptied_receiver_takes_what_the_agent_still_has(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    """It believes that the rest is gone once a heartbeat told how many events there were."""
    empty = await head_office.receiver.back_up()
    async with head_office.shop(tmp_path / "state") as shop:
        await shop.trade(5)
        await shop.delivered()
    await purge_all(tmp_path / "state")
    async with head_office.shop(tmp_path / "state", keeps_addresses=True) as later:
        await later.trade(5)
        await later.delivered()
    await head_office.receiver.restore(empty)
    async with head_office.shop(tmp_path / "state", later.ledger, keeps_addresses=True) as last:
        await last.trade(5)
        await last.delivered()
        records = await until_there(head_office.records, 2 * 10)
    assert head_office.receiver.rows(GAPS) == [(1, 10, NO_LONGER_HELD)]
    assert head_office.receiver.rows("SELECT accepted_through FROM agents") == [(30,)]
    verdict = judge(last.ledger, records)
    assert verdict.is_clean, verdict


async def test_emptied_receiver_gets_an_old_session_that_a_young_answer_keeps(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    """It is below the events that are purged, and still there: only those between are lost."""
    empty, state, kept = await head_office.receiver.back_up(), tmp_path / "state", str(uuid4())
    async with head_office.shop(state) as shop:
        await shop.agent.start_session({"correlationId": str(uuid4())})
        await shop.agent.start_session({"correlationId": kept})
        await shop.trade(2)
        await shop.delivered()
    await head_office.receiver.stop()
    async with head_office.shop(state) as shop:
        await shop.agent.set_email(kept, {"status": "declined"})
        await shop.until(waiting=1)
    await purge_all(state)
    await head_office.receiver.start()
    async with head_office.shop(state) as shop:
        await shop.delivered()
    await head_office.receiver.restore(empty)
    async with head_office.shop(state) as shop:
        records = await until_there(head_office.records, 2)
        await shop.until(waiting=0, deadLetters=0)
    assert {one.correlation_id for one in records} == {kept}
    assert head_office.receiver.rows("SELECT sequence FROM sessions") == [(2,)]
    assert head_office.receiver.rows(GAPS) == [(1, 1, NO_LONGER_HELD), (3, 6, NO_LONGER_HELD)]


@pytest.mark.parametrize("are_delivered", [True, False])
async def test_captures_gone_with_a_copy_put_back_are_lost_only_if_the_receiver_lacks_them(
    head_office: HeadOffice,
    tmp_path: Path,
    are_delivered: bool,  # noqa: FBT001 - a case
) -> None:
    state = tmp_path / "state"
    async with head_office.shop(state) as shop:
        await shop.trade(5)
        await shop.delivered()
    copy = (state / "agent.db").read_bytes()
    if not are_delivered:
        await head_office.receiver.stop()
    async with head_office.shop(state, shop.ledger) as shop:
        await shop.trade(5)
        await shop.until(waiting=0 if are_delivered else 10)
    if not are_delivered:
        await head_office.receiver.start()
    (state / "agent.db").write_bytes(copy)
    async with head_office.shop(state, shop.ledger) as shop:
        await until_there(lambda: asked_of(state), 1)
        if not are_delivered:
            await until_there(lambda: head_office.receiver.rows(GAPS), 1)
        lost = (await shop.status())["lost"]
    gaps = [(first, last) for first, last, _ in head_office.receiver.rows(GAPS)]
    assert gaps == ([] if are_delivered else [(11, 20)])
    assert bool(lost) is not are_delivered


def asked_of(state: Path) -> list[tuple[object, ...]]:
    """Return the losses of which head office has answered whether it has them."""
    return query(state, "SELECT * FROM lost_captures WHERE accepted_through IS NOT NULL")


async def test_lost_agent_database_starts_new_epoch(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    async with head_office.shop(tmp_path / "state") as shop:
        await shop.trade(5)
        await shop.delivered()
    for file in (tmp_path / "state").glob("agent.*"):
        file.unlink()
    async with head_office.shop(tmp_path / "state", shop.ledger) as shop:
        await shop.trade(5)
        await shop.delivered()
    verdict = judge(shop.ledger, head_office.records())
    assert verdict.is_clean, verdict
    assert head_office.receiver.rows("SELECT accepted_through FROM agents") == [(10,), (10,)]


async def test_agent_restored_from_copy_does_not_reuse_sequences(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    """The high-water mark is put back as well: only head office knows the used sequences."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    async with head_office.shop(state) as shop:
        await shop.trade(5)
        await shop.delivered()
    copy.mkdir()
    for name in ("agent.db", "agent.mark", "encryption.key"):
        (copy / name).write_bytes((state / name).read_bytes())
    async with head_office.shop(state, shop.ledger) as shop:
        await shop.trade(5)
        await shop.delivered()
    async with head_office.shop(copy, shop.ledger) as shop:
        await shop.trade(5)
        records = await until_there(head_office.records, 2 * 15)
        await shop.delivered()
    # Receipts may differ: the captures were renumbered in a new epoch.
    verdict = judge(shop.ledger, [replace(record, receipt=None) for record in records])
    assert verdict.is_clean, verdict
    assert head_office.receiver.rows(GAPS) == []


async def audited(head_office: HeadOffice) -> list[EpochCompleteness]:
    """Return the completeness of all epochs, the ended ones first."""
    database = SqliteFile(head_office.receiver.database)
    await database.open()
    try:
        found = [epoch async for epoch in audit(database, None)]
    finally:
        await database.close()
    return sorted(found, key=lambda epoch: epoch.ended is None)


async def heard(head_office: HeadOffice, directory: Path, ledger: TillLedger) -> None:
    """Start the machine, let it deliver and send the heartbeat of its start, and stop it."""
    await forget_heartbeats(head_office)
    async with head_office.shop(directory, ledger) as shop:
        await shop.delivered()
        await until_there(lambda: head_office.receiver.rows(HEARD), 1)


async def forget_heartbeats(head_office: HeadOffice) -> None:
    """Forget the heartbeats so far."""
    with closing(sqlite3.connect(head_office.receiver.database)) as tool, tool:
        tool.execute("UPDATE agents SET free_bytes = NULL")


async def test_machine_that_died_with_captures_aboard_leaves_its_epoch_unconfirmed(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    """Completeness said "all is here"; then its disk is found, and its queue arrives."""
    async with head_office.shop(tmp_path / "first") as shop:
        await shop.trade(2)
        await shop.delivered()
    await head_office.receiver.stop()
    async with head_office.shop(tmp_path / "first", shop.ledger) as shop:
        await shop.trade(1)
    await head_office.receiver.start()
    async with head_office.shop(tmp_path / "second") as replacement:
        await replacement.trade(1)
        await replacement.delivered()
        dead, alive = await audited(head_office)

    assert (dead.outstanding, dead.missing, dead.is_complete) == ([], [], False)
    assert dead.unconfirmed is not None
    assert (dead.unconfirmed.captures, alive.is_complete) == (4, True)

    for _ in range(2):
        await heard(head_office, tmp_path / "first", shop.ledger)
    await heard(head_office, tmp_path / "second", replacement.ledger)

    assert len(head_office.records()) == 8
    assert [epoch.is_complete for epoch in await audited(head_office)] == [True, True]


async def test_nothing_is_outstanding_after_a_renumbering(
    head_office: HeadOffice, tmp_path: Path
) -> None:
    """Head office had other events under the numbers; all of them arrive under new ones."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    async with head_office.shop(state) as shop:
        await shop.trade(2)
        await shop.delivered()
    copy.mkdir()
    for name in ("agent.db", "agent.mark", "encryption.key"):
        (copy / name).write_bytes((state / name).read_bytes())
    async with head_office.shop(state, shop.ledger) as shop:
        await shop.trade(1)
        await shop.delivered()
    await head_office.receiver.stop()
    async with head_office.shop(copy, shop.ledger) as shop:
        await shop.trade(3)
        await head_office.receiver.start()
        await until_there(head_office.records, 12)
        await shop.delivered()
        await until_there(lambda: head_office.receiver.rows(TOLD), 1)
        ended, current = await audited(head_office)

    assert (ended.outstanding, ended.missing, ended.gaps) == ([], [], [])
    # The copy that delivered the other events may hold more.
    assert ended.unconfirmed is not None
    assert current.is_complete
