"""Outages and kills of head office and agent at any moment lose and duplicate nothing."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from agent.drill.processes import ProgramProcess
from agent.drill.result import count_records
from sync.receiver.config import DATABASE_FILE
from tests.support.agent.process import AgentProcess, agent_process
from tests.support.agent.store import query
from tests.support.central.faults import Stalled
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.paths import PATHS, DeliveryPath, open_path
from tests.support.shop.receivers import STORE, TILL, receiver_part
from tests.support.shop.records import records_in
from tests.support.shop.shop import shop_at, shop_over, trade_at
from tests.support.shop.verdict import judge
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.slow

CUSTOMERS = 30
MOST_IN_FLIGHT = 8
ANSWERED = 12
SEED = int(os.environ.get("CRASH_SEED", "20250109"))
_LOOK_SECONDS = 0.01
_WAITING = """
SELECT COALESCE(MAX(position), 0) - COALESCE((SELECT watermark FROM destination), 0) FROM event
"""


def delivering_to(url: str, protocol: str, token_file: Path | None) -> dict[str, str]:
    """Return the settings of an agent process as environment variables."""
    settings = {
        "STORE__STORE_ID": STORE,
        "STORE__TILL_ID": TILL,
        "CENTRAL__URL": url,
        "CENTRAL__PROTOCOL": protocol,
        "SYNC__INTERVAL_SECONDS": "1",
        "SYNC__TIMEOUT_SECONDS": "2",
        "SYNC__BACKOFF_BASE_SECONDS": "0.1",
        "SYNC__BACKOFF_CAP_SECONDS": "0.1",
        "SYNC__BATCH_EVENTS": "10",
        "SYNC__MAX_IN_FLIGHT": f"{MOST_IN_FLIGHT}",
    }
    if token_file is not None:
        settings |= {"CENTRAL__AUTH__KIND": "bearer", "CENTRAL__AUTH__TOKEN_FILE": str(token_file)}
    return {f"LOYALTY_AGENT__{name}": value for name, value in settings.items()}


def over(path: DeliveryPath) -> dict[str, str]:
    """Return the settings of an agent that delivers over `path`."""
    return delivering_to(path.server.url, path.protocol, path.token_file)


def waiting_in(directory: Path) -> int:
    """Return how many events in an agent's database are above its watermark."""
    ((waiting,),) = query(directory, _WAITING)
    assert isinstance(waiting, int)
    return waiting


async def until_it_has(database: Path, more_than: int) -> None:
    """Wait until head office has more than `more_than` records."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while count_records(database) <= more_than:  # noqa: ASYNC110 - other process
            await asyncio.sleep(_LOOK_SECONDS)


@pytest.mark.parametrize("name", PATHS)
async def test_tills_are_served_while_head_office_is_down(tmp_path: Path, name: str) -> None:
    async with open_path(name, tmp_path) as path, shop_over(path, tmp_path / "state") as shop:
        await shop.trade(10)
        await shop.delivered()
        await path.server.stop()
        await shop.trade(CUSTOMERS)
        status = await shop.until(state="retrying", trouble="head office is down")
        await path.server.start()
        await shop.delivered()

        verdict = judge(shop.ledger, path.records())
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * (10 + CUSTOMERS)
    assert status["waiting"]


@pytest.mark.process
@pytest.mark.parametrize("name", PATHS)
async def test_agent_killed_during_a_pass_resumes(tmp_path: Path, name: str) -> None:
    """Events that central committed without an answer are sent again; the repeat has no effect."""
    state, ledger = tmp_path / "state", TillLedger()
    async with open_path(name, tmp_path) as path:
        stalled = Stalled()
        for prefix in ("/sync/v1/batches", "/client"):
            path.server.script(stalled, on=prefix)
        async with agent_process(state, settings=over(path)) as child:
            await trade_at(await child.ready(), ledger, CUSTOMERS)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await stalled.reached.wait()
            child.kill()
            await child.exit_code()
        stalled.release.set()
        left = waiting_in(state)
        async with shop_over(path, state, ledger) as shop:
            await shop.delivered()

        verdict = judge(ledger, path.records())
    assert verdict.is_clean, verdict
    assert verdict.at_central == verdict.acknowledged == 2 * CUSTOMERS
    assert left


@pytest.mark.process
async def test_answered_events_are_not_sent_again_after_stop_during_a_window(
    tmp_path: Path,
) -> None:
    """In `replay` central may answer a repeat with an error: only events in flight may repeat."""
    state, ledger = tmp_path / "state", TillLedger()
    async with open_path("replay", tmp_path) as path:
        await path.server.stop()
        patient = over(path) | {"LOYALTY_AGENT__SYNC__TIMEOUT_SECONDS": "30"}
        async with agent_process(state, settings=patient) as child:
            await trade_at(await child.ready(), ledger, CUSTOMERS)
            stalled = Stalled()
            path.server.default_fault = lambda _: (
                stalled if len(path.server.requests) > ANSWERED else None
            )
            await path.server.start()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await path.server.wait_for_requests(ANSWERED + MOST_IN_FLIGHT)
            child.terminate()
            await child.exit_code()
        path.server.default_fault = lambda _: None
        stalled.release.set()
        async with shop_over(path, state, ledger) as shop:
            await shop.delivered()

        sent = [(request.method, request.path, request.body) for request in path.server.requests]
        verdict = judge(ledger, path.records())
    assert verdict.is_clean, verdict
    assert 1 <= len(sent) - len(set(sent)) <= MOST_IN_FLIGHT


@pytest.mark.process
async def test_kills_of_both_ends_during_a_batch_lose_and_duplicate_nothing(tmp_path: Path) -> None:
    state, ledger = tmp_path / "state", TillLedger()
    async with receiver_part(tmp_path / "receiver") as (receiver, url, token_file):
        settings = delivering_to(url, "batch", token_file)
        database = tmp_path / "receiver" / DATABASE_FILE
        async with agent_process(state, settings=settings) as child:
            await trade_at(await child.ready(), ledger, 300)
            await kill_at_work(receiver, database)
            left = [waiting_in(state)]
            await kill_at_work(receiver, database, child)
            left.append(waiting_in(state))
        await receiver.start("serve", "hq.serving")
        async with shop_at(state, url, "batch", ledger, token_file=token_file) as shop:
            await shop.delivered()
    verdict = judge(ledger, records_in(database))
    assert verdict.is_clean, verdict
    assert verdict.at_central == verdict.acknowledged == 600
    assert all(left)


async def kill_at_work(
    receiver: ProgramProcess, database: Path, child: AgentProcess | None = None
) -> None:
    """Start head office and kill it while batches arrive; kill `child` too."""
    had = count_records(database)
    await receiver.start("serve", "hq.serving")
    await until_it_has(database, had + 20)
    await receiver.crash()
    if child is not None:
        child.kill()
        await child.exit_code()


@pytest.mark.campaign
async def test_twenty_kills_of_either_end_under_load_lose_and_duplicate_nothing(
    tmp_path: Path,
) -> None:
    print(f"CRASH_SEED={SEED}")
    rng, state, ledger = random.Random(SEED), tmp_path / "state", TillLedger()
    async with receiver_part(tmp_path / "receiver") as (receiver, url, token_file):
        settings = delivering_to(url, "batch", token_file)
        for _ in range(20):
            await receiver.start("serve", "hq.serving")
            async with agent_process(state, settings=settings) as child:
                crowd = await ledger.open_tills(await child.ready(), tills=4)
                assert await child.still_runs_after(rng.uniform(0.05, 0.8)), child.log_tail()
                if rng.random() < 0.5:
                    await receiver.crash()
                    assert await child.still_runs_after(rng.uniform(0.0, 0.3)), child.log_tail()
                child.kill()
                await child.exit_code()
                assert await crowd.finished(PATIENCE_SECONDS)
            ledger.ask_again([question.pair for question in crowd.in_doubt])
            await receiver.crash()
        await receiver.start("serve", "hq.serving")
        async with shop_at(state, url, "batch", ledger, token_file=token_file) as shop:
            await shop.trade(1)
            await shop.delivered()
    verdict = judge(ledger, records_in(tmp_path / "receiver" / DATABASE_FILE))
    assert verdict.is_clean, verdict
    assert verdict.at_central == verdict.acknowledged
