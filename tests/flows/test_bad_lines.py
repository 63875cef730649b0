"""With any network fault, head office gets every event once, in order, unchanged."""

from copy import copy
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.support.central import Fault, faults
from tests.support.shop.paths import EveryNth, open_path
from tests.support.shop.shop import QUICK, shop_over
from tests.support.shop.verdict import judge

pytestmark = pytest.mark.slow

CUSTOMERS = 25
# Small batches, so that many requests can meet faults.
IN_SMALL_BATCHES = QUICK.model_copy(update={"batch_events": 10})
BRIEF: dict[str, Fault] = {
    "answers lost after the commit": faults.answer_lost,
    "reset after the commit": faults.reset_after,
    "reset before the commit": faults.reset_before,
    "answers cut short": faults.cut_short,
    "captive portal": faults.captive_portal,
    "redirects": faults.redirected,
    "500": faults.problem(500, "INTERNAL_ERROR"),
    "502 with a page": faults.html(502),
    "504 of a gateway": faults.gateway(504),
    "503": faults.overloaded("0", status=503),
}


async def busy_until_a_date(serve: faults.Serve) -> faults.Answer | faults.Lost:
    """Be overloaded for about a second."""
    until = datetime.now(UTC) + timedelta(seconds=2)  # HTTP dates have no fractions
    return await faults.overloaded(format_datetime(until, usegmt=True))(serve)


LASTING: dict[str, Fault] = {
    "429 with seconds": faults.overloaded("1"),
    "429 with a date": busy_until_a_date,
    "slower than the timeout": faults.slow(1.2),
}
WEATHER = [
    *(pytest.param(EveryNth(2, fault, at_most=3), id=name) for name, fault in BRIEF.items()),
    *(pytest.param(EveryNth(3, fault, at_most=1), id=name) for name, fault in LASTING.items()),
]


@pytest.mark.parametrize("name", ["replay", "batch to the receiver"])
@pytest.mark.parametrize("weather", WEATHER)
async def test_network_fault_loses_and_duplicates_nothing(
    tmp_path: Path, name: str, weather: EveryNth
) -> None:
    weather = copy(weather)
    async with (
        open_path(name, tmp_path) as path,
        shop_over(path, tmp_path / "state", sync=IN_SMALL_BATCHES) as shop,
    ):
        path.server.default_fault = weather
        await shop.trade(CUSTOMERS)
        await shop.delivered()

        verdict = judge(shop.ledger, path.records())
    assert verdict.is_clean, verdict
    assert verdict.at_central == verdict.acknowledged == 2 * CUSTOMERS
    assert weather.met
