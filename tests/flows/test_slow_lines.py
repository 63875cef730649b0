"""A slow connection delays delivery; it blocks neither delivery nor tills."""

from pathlib import Path

import pytest

from tests.support.faults.slow_line import slow_line_to
from tests.support.shop.paths import PATHS, open_path
from tests.support.shop.shop import QUICK, shop_at
from tests.support.shop.verdict import judge

pytestmark = pytest.mark.slow

BYTES_PER_SECOND = 20_000
CUSTOMERS = 20


@pytest.mark.parametrize("name", PATHS)
async def test_slow_connection_loses_and_duplicates_nothing(tmp_path: Path, name: str) -> None:
    async with (
        open_path(name, tmp_path) as path,
        slow_line_to(path.server.url, BYTES_PER_SECOND) as url,
        shop_at(tmp_path / "state", url, path.protocol, token_file=path.token_file) as shop,
    ):
        await shop.trade(CUSTOMERS)
        await shop.delivered()

        verdict = judge(shop.ledger, path.records())
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * CUSTOMERS


async def test_batch_that_times_out_on_slow_connection_is_sent_in_smaller_ones(
    tmp_path: Path,
) -> None:
    """Otherwise each pass would send only one probe."""
    whole = QUICK.model_copy(update={"batch_events": 1_000})
    async with (
        open_path("batch", tmp_path) as path,
        slow_line_to(path.server.url, BYTES_PER_SECOND // 3) as url,
        shop_at(tmp_path / "state", url, path.protocol, sync=whole) as shop,
    ):
        await shop.trade(100)
        await shop.delivered()

        verdict = judge(shop.ledger, path.records())
    assert verdict.is_clean, verdict
    assert verdict.at_central == 200
