"""Two machines, or two agents on one, capture and deliver under one store and till id."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from agent.uplink import uplink
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.receivers import TILL, RestartableReceiver
from tests.support.shop.shop import Shop, shop_at
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.slow

IDS = "SELECT correlation_id FROM sessions"
ANSWERS = "SELECT correlation_id FROM email_answers"


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RestartableReceiver]:
    async with RestartableReceiver(tmp_path / "receiver") as receiver:
        await receiver.enroll()
        yield receiver


async def test_cloned_machine_is_noticed_and_no_receipt_is_given_out_twice_from_then_on(
    receiver: RestartableReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    ledgers = [TillLedger(), TillLedger()]
    states = [tmp_path / "machine", tmp_path / "clone"]
    async with _machine(receiver, states[0], "boot-0", ledgers[0]) as machine:
        await machine.trade(5)
        await machine.delivered()
    shutil.copytree(states[0], states[1])

    async with AsyncExitStack() as stack:
        shops = [
            await stack.enter_async_context(_machine(receiver, state, f"boot-{number}", ledger))
            for number, (state, ledger) in enumerate(zip(states, ledgers, strict=True), 1)
        ]
        await asyncio.gather(*(shop.trade(10) for shop in shops))
        for shop in shops:
            await _until_told(shop)
        known = [set(ledger.acknowledged.values()) for ledger in ledgers]
        await asyncio.gather(*(shop.trade(10) for shop in shops))
        for shop in shops:
            await shop.delivered()
        epochs = [(await shop.status())["epoch"] for shop in shops]
        letters = [await shop.dead_letters() for shop in shops]

    first, second = (
        set(ledger.acknowledged.values()) - before
        for ledger, before in zip(ledgers, known, strict=True)
    )
    assert len(first) == len(second) == 20
    assert not first & second
    assert epochs[0] != epochs[1]
    assert letters == [[], []]
    captured = {name[1] for ledger in ledgers for name in ledger.acknowledged}
    assert sorted(str(row[0]) for row in receiver.rows(IDS)) == sorted(captured)
    assert sorted(str(row[0]) for row in receiver.rows(ANSWERS)) == sorted(captured)


async def test_two_agents_on_one_host_with_copies_of_a_directory_are_noticed_before_they_capture(
    receiver: RestartableReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink, "HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    states, ledger = [tmp_path / "agent", tmp_path / "copy"], TillLedger()
    async with _machine(receiver, states[0], "boot", ledger) as machine:
        await machine.trade(3)
        await machine.delivered()
    shutil.copytree(states[0], states[1])

    async with AsyncExitStack() as stack:
        agents = [
            await stack.enter_async_context(_machine(receiver, state, "boot", ledger))
            for state in states
        ]
        for agent in agents:
            await _until_told(agent)
        epochs = [(await agent.status())["epoch"] for agent in agents]

    assert epochs[0] != epochs[1]


@asynccontextmanager
async def _machine(
    receiver: RestartableReceiver, state: Path, boot_id: str, ledger: TillLedger
) -> AsyncIterator[Shop]:
    """Boot a machine with this disk."""
    (state.parent / "boot-id").write_text(boot_id)
    token_file = receiver.directory / f"{TILL}.token"
    async with shop_at(state, receiver.url, "batch", ledger, token_file=token_file) as shop:
        yield shop


async def _until_told(shop: Shop) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await shop.status())["nameSharedSince"] is None:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)
