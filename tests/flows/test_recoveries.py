"""Data lost at one end is sent again by the other, or its loss is recorded."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.store.outbox.dead_letter_queue import DeadLetters
from tests.support.agent.store import change, query
from tests.support.central import ScriptedCentral
from tests.support.shop.records import records_of
from tests.support.shop.shop import shop_at, until_there
from tests.support.shop.verdict import StoredRecord, judge

pytestmark = pytest.mark.slow

PROTOCOLS = ["batch", "replay"]


def without_receipt(record: StoredRecord) -> StoredRecord:
    return replace(record, receipt=None)


async def test_head_office_restored_from_backup_gets_missing_events(tmp_path: Path) -> None:
    async with (
        ScriptedCentral() as central,
        shop_at(tmp_path / "state", central.url, "batch", keeps_addresses=True) as shop,
    ):
        await shop.trade(20)
        await shop.delivered()
        old = central.backup()
        await shop.trade(20)
        await shop.delivered()

        central.ledger = old
        await shop.trade(1)
        records = await until_there(lambda: records_of(central), 2 * 41)

        verdict = judge(shop.ledger, records)
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * 41


async def test_lost_database_starts_new_epoch(tmp_path: Path) -> None:
    async with ScriptedCentral() as central:
        async with shop_at(tmp_path / "state", central.url, "batch") as shop:
            await shop.trade(5)
            await shop.delivered()
        for file in (tmp_path / "state").glob("agent.*"):
            file.unlink()

        async with shop_at(tmp_path / "state", central.url, "batch", shop.ledger) as shop:
            await shop.trade(5)
            status = await shop.delivered()
        verdict = judge(shop.ledger, records_of(central))

    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * 10
    assert status["watermark"] == 10
    assert [epoch.through for epoch in central.ledger.epochs.values()] == [10, 10]


async def test_agent_restored_from_copy_does_not_reuse_sequences(tmp_path: Path) -> None:
    """The high-water mark is put back as well: only head office knows the used sequences."""
    state, copy = tmp_path / "state", tmp_path / "copy"
    async with ScriptedCentral() as central:
        async with shop_at(state, central.url, "batch") as shop:
            await shop.trade(5)
            await shop.delivered()
        copy.mkdir()
        for name in ("agent.db", "agent.mark", "encryption.key"):
            (copy / name).write_bytes((state / name).read_bytes())
        async with shop_at(state, central.url, "batch", shop.ledger) as shop:
            await shop.trade(5)
            await shop.delivered()

        async with shop_at(copy, central.url, "batch", shop.ledger) as shop:
            await shop.trade(5)
            records = await until_there(lambda: records_of(central), 2 * 15)
            await shop.delivered()

    # Receipts may differ: the captures were renumbered in a new epoch.
    verdict = judge(shop.ledger, [*map(without_receipt, records)])
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * 15
    assert len(query(copy, "SELECT epoch FROM epoch")) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_refused_session_and_its_answer_are_delivered_once_central_accepts_them(
    tmp_path: Path, protocol: str
) -> None:
    async with (
        ScriptedCentral() as central,
        shop_at(tmp_path / "state", central.url, protocol) as shop,
    ):
        customer = next(shop.ledger.customers(1))
        central.refuse(customer.correlation_id)
        shop.ledger.ask_again([customer])
        await shop.trade(4)
        await shop.until(waiting=0, deadLetters=2)
        letters = await shop.dead_letters()
        central.accept_all()

        await shop.retry(next(one for one in letters if one["type"] == "session.started"))
        status = await shop.until(waiting=0, deadLetters=0)

        verdict = judge(shop.ledger, records_of(central))
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * 5
    assert status["waiting"] == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_dead_letters_of_another_agent_version_are_retried_at_start(
    tmp_path: Path, protocol: str
) -> None:
    async with ScriptedCentral() as central:
        async with shop_at(tmp_path, central.url, protocol) as shop:
            customer = next(shop.ledger.customers(1))
            central.refuse(customer.correlation_id)
            shop.ledger.ask_again([customer])
            await shop.trade(1)
            await shop.until(waiting=0, deadLetters=2)
        central.accept_all()
        change(tmp_path, "UPDATE dead_letter SET agent_version = '0.0.1'")

        async with shop_at(tmp_path, central.url, protocol, shop.ledger) as shop:
            await shop.until(waiting=0, deadLetters=0)
        verdict = judge(shop.ledger, records_of(central))
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * 2


async def test_unexpected_exception_does_not_end_delivery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DeadLetters.retry_due
    faults_left = [RuntimeError("planted")]

    async def faulty(letters: DeadLetters) -> int:
        if faults_left:
            raise faults_left.pop()
        return await original(letters)

    monkeypatch.setattr(DeadLetters, "retry_due", faulty)
    monkeypatch.setattr("agent.uplink.uplink._RESTART_SECONDS", 0.01)
    async with (
        ScriptedCentral() as central,
        shop_at(tmp_path, central.url, "batch") as shop,
    ):
        await shop.trade(3)
        await shop.delivered()

        verdict = judge(shop.ledger, records_of(central))
    assert verdict.is_clean, verdict
    assert not faults_left
