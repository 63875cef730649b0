"""Batches that wait for a lock leave connections to heartbeats, readers and the readiness check."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from sync.receiver.db.limits import BATCHES_AT_ONCE
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.postgresql import PostgresqlServer, rows_at
from tests.support.head_office.receiver import receiver_under_test, settings_in

pytestmark = pytest.mark.process

_TILLS = 16
_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_heartbeats_and_readers_are_served_while_batches_wait_for_a_lock(
    postgresql_server: PostgresqlServer,
    till: SimulatedAgent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sync.receiver.db.postgresql._LIMITS", {"lock_timeout": "60000"})
    monkeypatch.setattr("sync.receiver.db.postgresql.STATEMENT_SECONDS", 60)
    url = await postgresql_server.new_database()
    tills = [SimulatedAgent(f"{number:04}", "till-1") for number in range(_TILLS)]
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        for one in (*tills, till):
            await receiver.enroll(one)
        tool = await asyncpg.connect(url.replace("+asyncpg", ""))
        lock = tool.transaction()
        await lock.start()
        await tool.execute("LOCK TABLE sessions IN SHARE ROW EXCLUSIVE MODE")
        batches = [asyncio.ensure_future(receiver.send(one, session(1))) for one in tills]
        while await rows_at(url, _WAITING) < [(BATCHES_AT_ONCE,)]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)

        served = [
            await receiver.heartbeat(till),
            await receiver.get("/v1/stores"),
            await receiver.get("/readyz"),
        ]
        waiting = sum(not batch.done() for batch in batches)
        await lock.rollback()
        stored = await asyncio.gather(*batches)
        await tool.close()

    assert [response.status for response in served] == [200, 200, 200]
    assert waiting == _TILLS
    assert {response.status for response in stored} == {200}
