"""A database that is older than its mark, or gone: the agent says which captures are lost."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.doctor.store.findings import check_lost_captures
from sync.protocol.wire import EpochExtent
from sync.runtime.checks.check import Verdict
from tests.support.agent.process import agent
from tests.support.agent.store import query
from tests.support.central import ScriptedCentral
from tests.support.shop.shop import Shop, shop_at, until_there

pytestmark = [pytest.mark.slow, pytest.mark.process]

COMMITTED = 2 * 10


async def trade_and_roll_back(central: ScriptedCentral, state: Path, history: str) -> str:
    """Deliver ten captures, record ten more while head office is away, then lose these.

    Return the epoch of the captures.
    """
    await central.stop()
    await central.start()
    async with shop_at(state, central.url, "batch") as shop:
        await shop.trade(5)
        await shop.delivered()
    copy = state.with_name("copy")
    shutil.copytree(state, copy)
    await central.stop()
    async with shop_at(state, central.url, "batch", shop.ledger) as shop:
        await shop.trade(5)
        ((epoch,),) = query(state, "SELECT epoch FROM epoch")
        if history == "main file without its WAL":
            shutil.copytree(state, copy, dirs_exist_ok=True)
    if history == "main file without its WAL":
        (copy / "agent.db-wal").unlink()
        shutil.rmtree(state)
        copy.rename(state)
    else:
        for name in ("agent.db-wal", "agent.db-shm"):
            (state / name).unlink(missing_ok=True)
        (state / "agent.db").unlink()
    if history == "copy put back":
        shutil.copy(copy / "agent.db", state / "agent.db")
    await central.start()
    return str(epoch)


HISTORIES = {
    "copy put back": (11, 20),
    "main file without its WAL": (11, 20),
    "database deleted": (11, 20),
}


@pytest.mark.parametrize("history", HISTORIES)
async def test_captures_that_only_the_mark_knows_are_reported_everywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, history: str
) -> None:
    state = tmp_path / "state"
    async with ScriptedCentral() as central:
        epoch = await trade_and_roll_back(central, state, history)
        caplog.clear()
        async with shop_at(state, central.url, "batch") as shop:
            lost = await until_lost(shop, central, epoch)
            page = (await shop.agent.get("/")).body.decode()
            metrics = (await shop.agent.get("/metrics")).body.decode()
            command = await asyncio.to_thread(status_command, shop)
            check = check_lost_captures(state)

    first, last = HISTORIES[history]
    assert (lost["firstSequence"], lost["lastSequence"]) == (first, last)
    (logged,) = [one for one in caplog.records if one.message == "store.captures_lost"]
    assert logged.levelname == "ERROR"
    assert logged.__dict__["fields"]["last"] == last
    assert f"{last - first + 1} captures were lost" in page
    assert f"loyalty_agent_lost_captures {last - first + 1}.0" in metrics
    assert command.returncode == 1, command.stdout
    assert f'"lastSequence": {last}' in command.stdout
    assert check is not None
    assert check.verdict is Verdict.FAULT
    assert str(last) in check.found
    assert central.ledger.epochs[epoch].gaps == [(first, last)]


async def until_lost(shop: Shop, central: ScriptedCentral, epoch: str) -> dict[str, object]:
    """Wait until head office is told of lost captures; return what the status says of them."""
    await until_there(lambda: [one for one in named(central, epoch) if one.lost_through], 1)
    lost = (await shop.status())["lost"]
    assert isinstance(lost, list)
    assert len(lost) == 1
    assert lost[0]["epoch"] == epoch
    return dict(lost[0])


def named(central: ScriptedCentral, epoch: str) -> list[EpochExtent]:
    """Return what the heartbeats said of an older epoch."""
    told = [one for heartbeat in central.heartbeats for one in heartbeat.epochs]
    return [one for one in told if one.epoch == epoch]


def status_command(shop: Shop) -> subprocess.CompletedProcess[str]:
    """Run `loyalty-agent status` for this agent."""
    return agent("status", LOYALTY_AGENT__API__PORT=str(shop.agent.address.port))
