"""A POS disk is put back from an image, database and high-water mark: no capture is lost."""

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.retention.purge import purge
from tests.support.shop.receivers import RestartableReceiver
from tests.support.shop.records import records_in
from tests.support.shop.shop import Shop, shop_at, until_there
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.slow

ALTERED = "SELECT count(*) FROM rejections"
EPOCHS = "SELECT accepted_through, purged_through FROM agents ORDER BY begun_at"
ADDRESSES = "SELECT count(*) FROM email_answers WHERE email_address IS NOT NULL"


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RestartableReceiver]:
    async with RestartableReceiver(tmp_path / "receiver") as receiver:
        yield receiver


async def purge_all(receiver: RestartableReceiver) -> None:
    """Purge everything that the stopped receiver has."""
    database = SqliteFile(receiver.database)
    await database.open()
    now = datetime.now(UTC)
    await purge(database, now + timedelta(seconds=1), now)
    await database.close()


def put_back(image: Path, state: Path) -> None:
    """Replace the whole storage directory by its image."""
    shutil.rmtree(state)
    shutil.copytree(image, state)


@pytest.mark.parametrize("is_purged", [True, False])
@pytest.mark.parametrize("customers", [6, 12], ids=["fewer than lost", "more than lost"])
async def test_captures_under_old_numbers_arrive_once_head_office_is_back(
    receiver: RestartableReceiver,
    tmp_path: Path,
    is_purged: bool,  # noqa: FBT001 - a parameter
    customers: int,
) -> None:
    """With more, the heartbeat shows nothing: head office has no number that the agent lacks."""
    state, image, token = tmp_path / "state", tmp_path / "image", await receiver.enroll()
    async with shop_at(state, receiver.url, "batch", token_file=token) as shop:
        await shop.trade(5)
        await shop.delivered()
    shutil.copytree(state, image)
    async with shop_at(state, receiver.url, "batch", shop.ledger, token_file=token) as shop:
        await shop.trade(10)
        await shop.delivered()
    await receiver.stop()
    if is_purged:
        await purge_all(receiver)
    put_back(image, state)

    async with shop_at(state, receiver.url, "batch", TillLedger(), token_file=token) as later:
        await later.trade(customers)
        await receiver.start()
        before = 0 if is_purged else 2 * 15
        await until_there(lambda: records_in(receiver.database), before + 2 * customers)
        await later.delivered()
        assert await later.dead_letters() == []

    assert len(records_in(receiver.database)) == before + 2 * customers
    assert receiver.rows(ADDRESSES) == [(before // 2 + customers,)]
    assert len(receiver.rows(EPOCHS)) == 2
    assert receiver.rows(ALTERED) == [(0,)]


async def test_session_of_the_lost_days_that_is_started_again_gets_its_answer(
    receiver: RestartableReceiver, tmp_path: Path
) -> None:
    """Head office has the session; the agent took its repeat for a new one."""
    state, image, token = tmp_path / "state", tmp_path / "image", await receiver.enroll()
    async with shop_at(state, receiver.url, "batch", token_file=token) as shop:
        await shop.trade(1)
        await shop.delivered()
    shutil.copytree(state, image)
    started: dict[str, object] = {"correlationId": "forgotten", "channel": "pos"}
    async with shop_at(state, receiver.url, "batch", shop.ledger, token_file=token) as shop:
        await shop.agent.start_session(started)
        await shop.delivered()
    put_back(image, state)

    async with shop_at(state, receiver.url, "batch", shop.ledger, token_file=token) as later:
        await answer_later(later, started)
        await later.delivered()
        assert await later.dead_letters() == []

    answers = "SELECT email_address FROM email_answers WHERE correlation_id = 'forgotten'"
    sessions = "SELECT count(*) FROM sessions WHERE correlation_id = 'forgotten'"
    assert receiver.rows(answers) == [("guest@example.com",)]
    assert receiver.rows(sessions) == [(1,)]


async def answer_later(shop: Shop, started: dict[str, object]) -> None:
    """Start the session again and answer it."""
    assert (await shop.agent.start_session(started)).status == 200
    answered = {"status": "accepted", "emailAddress": "guest@example.com"}
    assert (await shop.agent.set_email(str(started["correlationId"]), answered)).status == 200
