"""One invalid record among a thousand becomes a dead letter; the same pass delivers the rest."""

from pathlib import Path
from uuid import uuid4

import pytest

from sync.protocol.wire import EventType
from tests.support.central import ScriptedCentral
from tests.support.shop.receivers import RestartableReceiver
from tests.support.shop.records import records_in, records_of
from tests.support.shop.shop import QUICK, Shop, capturing_in, shop_at
from tests.support.shop.verdict import judge
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.slow

PROTOCOLS = ["batch", "replay"]
# One pass at the start and no other: events that it leaves are never sent.
ONE_PASS = QUICK.model_copy(update={"interval_seconds": 86_400})


def in_one_pass(status: dict[str, object]) -> tuple[object, object, object]:
    """Return the counters of the pass: passes, delivered, refused."""
    sync = status["sync"]
    assert isinstance(sync, dict)
    return sync["passes"], sync["delivered"], sync["refused"]


async def the_letter(shop: Shop) -> dict[str, object]:
    """Return the only dead letter."""
    (letter,) = await shop.dead_letters()
    return letter


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_one_refused_of_a_thousand_leaves_999_delivered_in_same_pass(
    tmp_path: Path, protocol: str
) -> None:
    ledger = TillLedger()
    async with capturing_in(tmp_path / "state", ledger) as shop:
        await shop.trade(500)
    bad = next(name for kind, name in list(ledger.acknowledged)[500:] if kind == "email")
    async with ScriptedCentral() as central:
        central.refuse(
            bad, EventType.EMAIL_ANSWERED, "EMAIL_IN_USE", "Email address is already in use"
        )
        async with shop_at(
            tmp_path / "state", central.url, protocol, ledger, sync=ONE_PASS
        ) as shop:
            status = await shop.until(waiting=0, passes=1)
            letter = await the_letter(shop)
        records = records_of(central)
    assert in_one_pass(status) == (1, 999, 1)
    assert len(records) == 999
    assert judge(ledger, records, refused=frozenset({bad})).is_clean
    assert (letter["correlationId"], letter["type"]) == (bad, "email.answered")
    assert letter["errorCode"] == "EMAIL_IN_USE"
    assert letter["errorMessage"] == "Email address is already in use"


async def test_one_refused_by_receiver_leaves_999_delivered_in_same_pass(tmp_path: Path) -> None:
    """The till's machine before sent a session with the same correlation id and other content."""
    ledger, taken = TillLedger(), str(uuid4())
    async with capturing_in(tmp_path / "till", ledger) as shop:
        await shop.trade(300)
        await shop.agent.start_session({"correlationId": taken, "channel": "STORE"})
        await shop.trade(199)
        await shop.agent.start_session({"correlationId": str(uuid4())})
    async with RestartableReceiver(tmp_path / "receiver") as receiver:
        token_file = await receiver.enroll()
        async with shop_at(
            tmp_path / "before", receiver.url, "batch", token_file=token_file
        ) as before:
            await before.agent.start_session({"correlationId": taken, "channel": "WEB"})
            await before.delivered()
        async with shop_at(
            tmp_path / "till", receiver.url, "batch", sync=ONE_PASS, token_file=token_file
        ) as shop:
            status = await shop.until(waiting=0, passes=1)
            letter = await the_letter(shop)
        rejections = receiver.rows("SELECT correlation_id, type, error_code FROM rejections")
        records = records_in(receiver.database)
    assert in_one_pass(status) == (1, 999, 1)
    assert len(records) == 1 + 999
    assert letter["correlationId"] == taken
    assert letter["errorMessage"] == "Invalid Correlation ID"
    assert rejections == [(taken, "session.started", letter["errorCode"])]
