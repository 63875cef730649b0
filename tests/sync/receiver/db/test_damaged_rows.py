"""A damaged row in head office's SQLite file stops no other till and no reader."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import receiver_under_test, settings_in

PAGES = ("/", "/v1/stores", "/v1/completeness", "/metrics", "/history", "/readyz")
NOT_UTF8 = "CAST(x'ff61' AS TEXT)"
ANY_VALUE = (
    "PRAGMA writable_schema=ON",
    "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE type = 'table'",
)


@pytest.mark.parametrize(
    "damage",
    [
        f"agent_version = {NOT_UTF8}",
        "last_seen_at = 'then'",
        f"last_seen_at = {NOT_UTF8}",
        "enrolled_at = 'then'",
    ],
)
async def test_damaged_agent_row_stops_nobody_else(tmp_path: Path, damage: str) -> None:
    bad, good = SimulatedAgent("0001", "till-1"), SimulatedAgent("0002", "till-1")
    async with receiver_under_test(settings_in(tmp_path)) as office:
        for sender in (bad, good):
            await office.enroll(sender)
            await office.heartbeat(sender)
            assert (await office.send(sender, session(1))).status == 200
        database = office.database
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in ANY_VALUE:
            connection.execute(statement)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(f"UPDATE agents SET {damage} WHERE store_id = '0001'")  # noqa: S608 - own names
    async with receiver_under_test(settings_in(tmp_path)) as office:
        await office.enroll(good)
        answers = {path: (await office.get(path)).status for path in PAGES}
        assert answers == dict.fromkeys(PAGES, 200)
        assert (await office.heartbeat(good)).status == 200
        assert (await office.send(good, session(2))).status == 200
