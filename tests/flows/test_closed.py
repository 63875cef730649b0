"""An agent that stops in order tells head office; one that is killed does not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from sync.protocol.wire import HEARTBEATS_PATH
from tests.support.agent.process import agent_process, delivering_to
from tests.support.central import ScriptedCentral, faults
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.receivers import STORE, TILL, RestartableReceiver
from tests.support.shop.shop import trade_at
from tests.support.till.ledger import TillLedger

pytestmark = [pytest.mark.slow, pytest.mark.process]

CLOSED = "SELECT closed_at IS NOT NULL, accepted_through FROM agents WHERE is_current"


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RestartableReceiver]:
    async with RestartableReceiver(tmp_path / "receiver") as receiver:
        await receiver.enroll()
        yield receiver


def enrolled_at(receiver: RestartableReceiver) -> Mapping[str, str]:
    """Return the settings of an agent that delivers to the receiver."""
    return delivering_to(receiver.url) | {
        "LOYALTY_AGENT__STORE__STORE_ID": STORE,
        "LOYALTY_AGENT__STORE__TILL_ID": TILL,
        "LOYALTY_AGENT__CENTRAL__AUTH__KIND": "bearer",
        "LOYALTY_AGENT__CENTRAL__AUTH__TOKEN_FILE": str(receiver.directory / f"{TILL}.token"),
    }


async def until(receiver: RestartableReceiver, *row: object) -> None:
    """Wait until the till's row at head office reads so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while receiver.rows(CLOSED) != [row]:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)


async def test_till_is_closed_once_its_agent_stops_in_order_and_open_once_it_starts_again(
    receiver: RestartableReceiver, tmp_path: Path
) -> None:
    settings = enrolled_at(receiver)
    async with agent_process(tmp_path / "agent", settings=settings) as running:
        await trade_at(await running.ready(), TillLedger(), 3)
        await until(receiver, 0, 6)
        running.terminate()
        assert await running.exit_code() == 0
    assert receiver.rows(CLOSED) == [(1, 6)]

    async with agent_process(tmp_path / "agent", settings=settings) as running:
        await running.ready()
        await until(receiver, 0, 6)
        running.kill()
        await running.exit_code()
    assert receiver.rows(CLOSED) == [(0, 6)]


async def test_till_whose_agent_cannot_serve_is_not_closed(
    receiver: RestartableReceiver, tmp_path: Path
) -> None:
    """Another program has its port: tills are refused, and each start ended as if in order."""
    settings = enrolled_at(receiver)
    async with agent_process(tmp_path / "agent", settings=settings) as running:
        await running.ready()
        await until(receiver, 0, 0)
        running.kill()
        await running.exit_code()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = {**settings, "LOYALTY_AGENT__API__PORT": str(other.getsockname()[1])}
        for _ in range(2):
            async with agent_process(tmp_path / "agent", settings=taken) as running:
                assert await running.exit_code() == 1

    assert receiver.rows(CLOSED) == [(0, 0)]


async def test_stop_with_a_line_on_which_nobody_answers_ends_in_order_all_the_same(
    tmp_path: Path,
) -> None:
    async with ScriptedCentral() as central:
        settings = delivering_to(central.url)
        async with agent_process(tmp_path / "agent", settings=settings) as running:
            await trade_at(await running.ready(), TillLedger(), 3)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not any(one.path == HEARTBEATS_PATH for one in central.requests):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.02)
            central.script(*[faults.Stalled()] * 20)
            running.terminate()
            code = await running.exit_code()
            # Without the answer of the line the time of the stop is bounded, not that of the line.
            said = [line["event"] for line in running.lines]
    assert code == 0
    assert "heartbeat.last_word_not_heard" in said
