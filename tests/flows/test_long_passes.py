"""A pass that lasts for hours on a slow connection does not delay erasing of addresses."""

import asyncio
from pathlib import Path

import pytest

from tests.support.agent.store import query
from tests.support.central import ScriptedCentral
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.shop import QUICK, shop_at

pytestmark = pytest.mark.slow

ERASED = "SELECT count(*) FROM email_answer WHERE address IS NULL"
_LOOK_SECONDS = 0.05


async def test_delivered_addresses_are_erased_during_a_pass(tmp_path: Path) -> None:
    slow = QUICK.model_copy(update={"bandwidth_bytes_per_second": 200, "batch_events": 10})
    central = ScriptedCentral()
    await central.start()
    await central.stop()
    async with shop_at(tmp_path, central.url, "batch", sync=slow) as shop:
        await shop.trade(50)
        await central.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while query(tmp_path, ERASED) == [(0,)]:  # noqa: ASYNC110 - polls a file
                await asyncio.sleep(_LOOK_SECONDS)
        status = await shop.status()
        await central.stop()
    assert status["waiting"] != 0
