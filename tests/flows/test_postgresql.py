"""From tills to head office on PostgreSQL, while database and receiver crash."""

import asyncio
import random
from pathlib import Path

import pytest

from agent.drill.processes import free_port
from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.load import enroll_on
from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.process import receiver_process
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.receivers import STORE, TILL, keep_token
from tests.support.shop.records import records_at
from tests.support.shop.shop import shop_at
from tests.support.shop.verdict import judge

pytestmark = pytest.mark.process

CUSTOMERS = 300
_LOOK_SECONDS = 0.02


async def token_for_shop(url: str, file: Path) -> Path:
    """Enroll the shop's agent; return the file with its token."""
    (agent,) = await enroll_on(Postgresql(url), [SimulatedAgent(STORE, TILL)], random.Random(1))
    return keep_token(file, agent.token)


async def until_more(url: str, than: int) -> int:
    """Wait until head office has more than `than` records; return their number."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if (count := len(await records_at(url))) > than:
                return count
            await asyncio.sleep(_LOOK_SECONDS)


async def test_database_crash_and_receiver_kill_under_load_lose_and_duplicate_nothing(
    crashing_postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    url, port = await crashing_postgresql_server.new_database(), free_port()
    token_file = await token_for_shop(url, tmp_path / "token")
    central = f"http://127.0.0.1:{port}"
    async with shop_at(tmp_path / "state", central, "batch", token_file=token_file) as shop:
        async with receiver_process(tmp_path / "hq", database=url, port=port) as office:
            await office.port()
            trading = asyncio.ensure_future(shop.trade(CUSTOMERS))
            await until_more(url, than=0)
            await crashing_postgresql_server.crash()
            await trading
            await crashing_postgresql_server.start()
            before = len(await records_at(url))
            await until_more(url, than=before)
            office.kill()
            await shop.trade(1)
        async with receiver_process(tmp_path / "hq", database=url, port=port):
            await shop.delivered()

    verdict = judge(shop.ledger, await records_at(url))
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * (CUSTOMERS + 1)
