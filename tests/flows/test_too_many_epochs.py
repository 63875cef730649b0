"""Database replaced too often: delivery is blocked visibly, and resumes later."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.ingest.agent_transaction import MAX_NEW_EPOCHS
from tests.support.shop.receivers import STORE, TILL, RestartableReceiver
from tests.support.shop.records import records_in
from tests.support.shop.shop import shop_at

pytestmark = pytest.mark.slow

EPOCHS_BEGUN = """
INSERT INTO agents (store_id, till_id, epoch, accepted_through, last_sequence, begun_at, is_current)
VALUES (?, ?, ?, 0, 0, ?, ?)
"""


def change(database: Path, statement: str, *rows: tuple[object, ...]) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(statement, rows)


async def test_queue_is_held_until_the_day_has_passed_and_nothing_is_set_aside(
    tmp_path: Path,
) -> None:
    async with RestartableReceiver(tmp_path / "receiver") as receiver:
        token_file = await receiver.enroll()
        now = datetime.now(UTC)
        epochs = [
            (STORE, TILL, f"{number}", to_rfc3339(now), 1 if number == 0 else None)
            for number in range(MAX_NEW_EPOCHS)
        ]
        change(receiver.database, EPOCHS_BEGUN, *epochs)
        async with shop_at(tmp_path / "shop", receiver.url, "batch", token_file=token_file) as shop:
            await shop.trade(2)
            held = await shop.until(state="holding", trouble="database replaced too often")

            assert held["waiting"] == 4
            assert await shop.dead_letters() == []
            assert records_in(receiver.database) == []

            a_day_ago = to_rfc3339(now - timedelta(hours=24))
            change(receiver.database, "UPDATE agents SET begun_at = ?", (a_day_ago,))
            await shop.delivered()

        assert len(records_in(receiver.database)) == 4
