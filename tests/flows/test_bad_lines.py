"""Whatever happens on the line: head office has everything, once, in order, unchanged."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.central import Fault, Request, ScriptedCentral, faults
from tests.flows.head_offices import records_of
from tests.flows.shop import shop_at
from tests.flows.verdict import judge

PROTOCOLS = ["batch", "replay"]
CUSTOMERS = 60
IN_A_SECOND = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
WEATHER: dict[str, Fault] = {
    "answers lost after the commit": faults.answer_lost,
    "reset after the commit": faults.reset_after,
    "reset before the commit": faults.reset_before,
    "answers cut short": faults.cut_short,
    "captive portal": faults.captive_portal,
    "redirects": faults.redirected,
    "500": faults.problem(500, "INTERNAL_ERROR"),
    "502 with a page": faults.html(502),
    "504 of a gateway": faults.gateway(504),
    "429 with seconds": faults.busy("0"),
    "429 with a date": faults.busy(IN_A_SECOND),
    "503": faults.busy("0", status=503),
    "slower than the timeout": faults.slow(1.3),
}


def every(nth: int, fault: Fault) -> Callable[[Request], Fault | None]:
    """Let every nth request meet `fault`."""
    count = 0

    def weather(_request: Request) -> Fault | None:
        nonlocal count
        count += 1
        return fault if count % nth == 0 else None

    return weather


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", WEATHER.values(), ids=WEATHER.keys())
async def test_nothing_is_lost_or_doubled(tmp_path: Path, protocol: str, fault: Fault) -> None:
    async with (
        ScriptedCentral() as central,
        shop_at(tmp_path / "state", central.url, protocol) as shop,
    ):
        central.weather = every(3, fault)
        await shop.trade(CUSTOMERS)
        await shop.delivered()

        verdict = judge(shop.ledger, records_of(central))
    assert verdict.is_clean, verdict
    assert verdict.at_central == verdict.acknowledged == 2 * CUSTOMERS


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_tills_do_not_notice_that_head_office_is_down(tmp_path: Path, protocol: str) -> None:
    central = ScriptedCentral()
    await central.start()
    async with shop_at(tmp_path / "state", central.url, protocol) as shop:
        await shop.trade(10)
        await shop.delivered()
        await central.stop()
        await shop.trade(CUSTOMERS)
        status = await shop.until(state="retrying")
        await central.start()
        await shop.delivered()
        await central.stop()

        verdict = judge(shop.ledger, records_of(central))
    assert verdict.is_clean, verdict
    assert verdict.at_central == 2 * (10 + CUSTOMERS)
    assert isinstance(status["waiting"], int)
    assert status["waiting"] > 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_one_bad_record_of_a_thousand_does_not_hold_up_the_others(
    tmp_path: Path, protocol: str
) -> None:
    central = ScriptedCentral()
    await central.start()
    await central.stop()
    async with shop_at(tmp_path / "state", central.url, protocol) as shop:
        await shop.trade(500)
        bad = next(name for kind, name in shop.ledger.acknowledged if kind == "email")
        central.refuse(bad, message="Email address is already in use")
        await central.start()
        status = await shop.delivered()
        await central.stop()

        records = records_of(central)
    assert len(records) == 998
    assert status["deadLetters"] == 2
    assert judge(shop.ledger, records, refused=frozenset({bad})).is_clean
