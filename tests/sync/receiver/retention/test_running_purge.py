"""Retention in a running head office, as set in `[retention]`."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from sync.receiver import service
from sync.runtime.retention_clock import microseconds_since_boot
from tests.support.head_office.messages import AT, SimulatedAgent, session, sessions
from tests.support.head_office.receiver import receiver_under_test, settings_in
from tests.support.shop.shop import until_there


async def test_running_head_office_purges_expired_events(
    new_state: Path, tmp_path: Path, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(new_state, tmp_path / "state")
    settings = settings_in(tmp_path / "state", retention={"days": 35})
    async with receiver_under_test(settings) as before:
        await before.enroll(till)
        await before.send(till, *sessions(1, 3))

    passed = timedelta(days=36)
    since_boot_us = microseconds_since_boot() + passed // timedelta(microseconds=1)
    monkeypatch.setattr(service, "microseconds_since_boot", lambda: since_boot_us)
    async with receiver_under_test(settings, lambda: AT + passed) as receiver:
        purged = "SELECT epoch FROM agents WHERE purged_through = 3"
        await until_there(lambda: receiver.rows(purged), 1)
        await until_there(lambda: [] if receiver.rows("SELECT hour FROM hours") else [()], 1)
        # The write-ahead log holds no purged rows either.
        log = tmp_path / "state" / "hq.db-wal"
        await until_there(lambda: [] if log.stat().st_size else [()], 1)
        receiver.tokens = before.tokens
        response = await receiver.send(till, session(4, "later"))

    assert response.members()["acceptedThrough"] == 4
    assert receiver.rows("SELECT sequence FROM sessions") == [(4,)]
    assert receiver.rows("SELECT sum(sessions) FROM hours") == [(1,)]
