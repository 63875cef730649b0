"""WAL scrub: after it, no file of a running agent holds an erased address, with or without key."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.store import store
from agent.store.db.connect import DATABASE_FILE
from sync.delivery.outbox import OutboxUnavailable
from tests.support.agent.erasure import stored_secrets, traces
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import answer, crashed_copy, session
from tests.support.log_fields import fields_of

ANSWERS = 300


async def record_addresses(rig: OutboxRig, count: int, prefix: str = "s") -> None:
    """Record sessions with one answer each, all with distinct addresses."""
    for number in range(count):
        name = f"{prefix}{number}"
        await rig.capture(session(name), answer(name, f"guest.{name}@example.com"))


async def erase_all(rig: OutboxRig) -> None:
    while await rig.outbox.retention.erase_once():
        pass


async def test_no_file_of_a_running_agent_holds_an_erased_address(tmp_path: Path) -> None:
    """Attack: copy the directory of a running agent, with the key beside the database."""
    live = tmp_path / "live"
    async with outbox_on(live) as rig:
        await record_addresses(rig, ANSWERS)
        addresses, _ = stored_secrets(live)
        await rig.deliver_all()
        await erase_all(rig)
        await rig.outbox.retention.scrub()
        stolen = crashed_copy(live, tmp_path / "stolen")
    assert len(addresses) == ANSWERS
    assert traces(stolen, addresses) == []


async def test_scrub_keeps_undelivered_events(tmp_path: Path) -> None:
    """Also after a kill."""
    live = tmp_path / "live"
    async with outbox_on(live) as rig:
        await record_addresses(rig, 3, "early")
        await rig.deliver_all()
        await erase_all(rig)
        await record_addresses(rig, 3, "late")
        await rig.outbox.retention.scrub()
        await record_addresses(rig, 1, "last")
        crashed = crashed_copy(live, tmp_path / "crashed")
    async with outbox_on(crashed) as rig:
        bodies = [event.body for event in (await rig.window()).events]
    assert sum(b"@example.com" in body for body in bodies) == 4


async def test_scrub_overwrites_frames_from_before_a_checkpoint(tmp_path: Path) -> None:
    """After a checkpoint SQLite restarts the WAL at its front; older frames remain behind it."""
    live = tmp_path / "live"
    async with outbox_on(live) as rig:
        await record_addresses(rig, 50)
        addresses, _ = stored_secrets(live)
        await rig.writer.run(store.Store.checkpoint)
        await record_addresses(rig, 1, "after")
        await rig.deliver_all()
        await erase_all(rig)
        await rig.outbox.retention.scrub()
        assert traces(crashed_copy(live, tmp_path / "stolen"), addresses) == []


async def test_open_reader_delays_the_scrub(tmp_path: Path) -> None:
    live = tmp_path / "live"
    async with outbox_on(live) as rig:
        await record_addresses(rig, 1)
        addresses, _ = stored_secrets(live)
        with closing(sqlite3.connect(live / DATABASE_FILE, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            await rig.deliver_all()
            await erase_all(rig)
            assert not await rig.outbox.retention.scrub_once()
        assert await rig.outbox.retention.scrub_once()
        assert traces(crashed_copy(live, tmp_path / "stolen"), addresses) == []


async def test_erasure_that_a_reader_puts_off_for_long_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("agent.store.retention.retention._SCRUB_RETRY_SECONDS", 0)
    async with outbox_on(tmp_path) as rig:
        await record_addresses(rig, 1)
        with closing(sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            await rig.deliver_all()
            await erase_all(rig)
            for _ in range(20):
                assert not await rig.outbox.retention.scrub()
        assert await rig.outbox.retention.scrub()

    assert fields_of(caplog, "store.erasure_waits") == [{"attempts": 10}]


async def test_scrub_restarts_after_a_failure_midway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tmp_path / "live"

    def fail(_wal: Path, _first: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with outbox_on(live) as rig:
        await record_addresses(rig, 50)
        addresses, _ = stored_secrets(live)
        await rig.deliver_all()
        await erase_all(rig)
        with monkeypatch.context() as patch:
            patch.setattr(store, "overwrite_stale_frames", fail)
            with pytest.raises(OutboxUnavailable):
                await rig.outbox.retention.scrub_once()
        assert await rig.outbox.retention.scrub_once()
        assert traces(crashed_copy(live, tmp_path / "stolen"), addresses) == []


async def test_scrub_writes_nothing_when_nothing_was_erased(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record_addresses(rig, 1)
        await rig.deliver_all()
        await erase_all(rig)
        await rig.outbox.retention.scrub()
        before = (tmp_path / f"{DATABASE_FILE}-wal").stat().st_mtime_ns
        await rig.outbox.retention.scrub()
        assert (tmp_path / f"{DATABASE_FILE}-wal").stat().st_mtime_ns == before
