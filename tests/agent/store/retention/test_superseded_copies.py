"""Copies made before a migration: each is deleted once its pending events are delivered."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agent.store.db.connect import DATABASE_FILE
from agent.store.queries.reader import StoreReader
from tests.support.agent.erasure import stored_secrets, traces
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.store import AT, answer, crashed_copy, query, session

COPY = f"{DATABASE_FILE}.before-0009"
DAY_SECONDS = 24 * 3600


def copy_of(directory: Path) -> Path:
    """Copy the live database as a migration does."""
    place = directory / COPY
    with (
        closing(sqlite3.connect(directory / DATABASE_FILE)) as source,
        closing(sqlite3.connect(place)) as target,
    ):
        source.backup(target)
    return place


async def record(rig: OutboxRig, *names: str) -> None:
    for name in names:
        await rig.capture(session(name), answer(name))


async def test_copy_goes_once_its_pending_captures_are_delivered(tmp_path: Path) -> None:
    """The attack: open the addresses in a copy that an upgrade left behind for ever."""
    live = tmp_path / "live"
    async with outbox_on(live) as rig:
        await record(rig, "one", "two")
        addresses, _ = stored_secrets(live)
        copy = copy_of(live)
        await rig.deliver(*(await rig.window(events=3)).events)
        await rig.outbox.retention.delete_superseded_copies()
        assert copy.exists()
        await rig.deliver_all()
        while await rig.outbox.retention.erase_once():
            pass
        await rig.outbox.retention.delete_superseded_copies()
        await rig.outbox.retention.scrub()
        assert len(addresses) == 2
        assert traces(crashed_copy(live, tmp_path / "stolen"), addresses) == []


async def test_copy_of_a_delivered_database_goes_at_once(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record(rig, "one")
        await rig.deliver_all()
        copy = copy_of(tmp_path)
        await rig.outbox.retention.delete_superseded_copies()
        assert not copy.exists()


async def test_a_dead_letter_counts_as_settled_because_the_live_database_keeps_it(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await record(rig, "one")
        copy = copy_of(tmp_path)
        await rig.refuse(*(await rig.window()).events)
        await rig.outbox.retention.delete_superseded_copies()
        assert not copy.exists()
        assert len(query(tmp_path, "SELECT 1 FROM email_answer WHERE address IS NOT NULL")) == 1


async def test_copy_of_another_database_stays(tmp_path: Path) -> None:
    """After damage a new database uses the same positions for other captures."""
    other, live = tmp_path / "other", tmp_path / "live"
    async with outbox_on(other) as rig:
        await rig.writer.record(session("lost"), replace(AT, wall_us=AT.wall_us - 1))
        copy_of(other)
    async with outbox_on(live) as rig:
        await record(rig, "one", "two")
        await rig.deliver_all()
        shutil.copy(other / COPY, live)
        await rig.outbox.retention.delete_superseded_copies()
        assert (live / COPY).exists()
        assert [copy.path.name for copy in StoreReader(live).status().copies] == [COPY]


async def test_copy_goes_after_its_events_are_purged(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record(rig, "one")
        copy = copy_of(tmp_path)
        await rig.deliver_all()
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        while await rig.outbox.retention.purge_once():
            pass
        await rig.outbox.retention.delete_superseded_copies()
        assert not copy.exists()


async def test_a_file_that_is_no_database_stays_for_a_person_to_decide(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await record(rig, "one")
        await rig.deliver_all()
        (tmp_path / COPY).write_bytes(b"no database" * 100)
        await rig.outbox.retention.delete_superseded_copies()
        assert (tmp_path / COPY).exists()
