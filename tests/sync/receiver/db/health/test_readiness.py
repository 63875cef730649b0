"""Readiness requires a writable ledger; full disk, lock and read-only server give a reason."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from sync.receiver.db.health.readiness import (
    FAILURE_TTL_SECONDS,
    STALE_SECONDS,
    SUCCESS_TTL_SECONDS,
    Readiness,
)
from sync.receiver.db.sqlite import SqliteFile
from sync.runtime.network.http_errors import HttpError
from tests.support.clocks import MonotonicClock
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.raw_http import HttpResponse

T = TypeVar("T")
_NO_TABLE = "The ledger cannot be written: a table is missing or may not be written, see the log"
_END_THE_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class FaultyDatabase(SqliteFile):
    """A real database that counts writes, and fails with `fault` if set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = self.writes = 0
        self.fault: Exception | None = None
        self.may_read, self.may_write = asyncio.Event(), asyncio.Event()
        self.may_read.set()
        self.may_write.set()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Count, wait for `may_read`, and read."""
        self.reads += 1
        await self.may_read.wait()
        return await super().read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Wait for `may_write`; then write, or raise the fault."""
        self.writes += 1
        await self.may_write.wait()
        if self.fault is not None:
            raise self.fault
        return await super().write(work)


@pytest.fixture
async def database(new_state: Path, tmp_path: Path) -> AsyncIterator[FaultyDatabase]:
    shutil.copytree(new_state, tmp_path, dirs_exist_ok=True)
    opened = FaultyDatabase(tmp_path / "hq.db")
    await opened.open()
    yield opened
    await opened.close()


def sqlite_error(name: str) -> OperationalError:
    """Return the SQLite error of this name, wrapped by SQLAlchemy."""
    cause = sqlite3.OperationalError(name)
    cause.sqlite_errorcode = getattr(sqlite3, name)
    return OperationalError("INSERT", {}, cause)


def reason_in(answer: HttpResponse) -> tuple[int, object]:
    """Return status and error message."""
    return answer.status, answer.members().get("errorMessage")


async def test_repeated_checks_write_once_per_ttl(database: FaultyDatabase) -> None:
    clock = MonotonicClock()
    readiness = Readiness(database, clock)

    for _ in range(100):
        await readiness.check()
        clock.seconds += SUCCESS_TTL_SECONDS / 50

    assert database.writes == 2


async def test_concurrent_checks_share_one_read_and_one_write(database: FaultyDatabase) -> None:
    """Anybody may ask, without a token: else a flood takes the connections of the batches."""
    readiness = Readiness(database, MonotonicClock())

    await asyncio.gather(*(readiness.check() for _ in range(100)))

    assert (database.reads, database.writes) == (1, 1)


async def test_check_whose_asker_is_gone_fails_no_other(database: FaultyDatabase) -> None:
    readiness = Readiness(database, MonotonicClock())
    gone = asyncio.ensure_future(readiness.check())
    other = asyncio.ensure_future(readiness.check())
    await asyncio.sleep(0)

    gone.cancel()

    await other
    await readiness.close()


async def test_recovery_is_detected_after_the_failure_ttl(database: FaultyDatabase) -> None:
    clock = MonotonicClock()
    readiness = Readiness(database, clock)
    database.fault = OSError("down")
    with pytest.raises(HttpError):
        await readiness.check()
    database.fault = None

    clock.seconds += FAILURE_TTL_SECONDS

    await readiness.check()


async def test_slow_write_keeps_the_previous_result(
    database: FaultyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.receiver.db.health.readiness._WAIT_SECONDS", 0.01)
    readiness = Readiness(database, MonotonicClock())
    database.may_write.clear()

    await readiness.check()

    database.may_write.set()
    await readiness.close()


async def test_write_that_never_ends_is_not_ready_for_ever(
    database: FaultyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stalls: the result of the hour before had been returned for ever."""
    monkeypatch.setattr("sync.receiver.db.health.readiness._WAIT_SECONDS", 0.01)
    clock = MonotonicClock()
    readiness = Readiness(database, clock)
    database.may_write.clear()
    await readiness.check()
    clock.seconds += STALE_SECONDS + 1

    with pytest.raises(HttpError) as raised:
        await readiness.check()

    assert raised.value.message == "The ledger cannot be written: a write has not ended for 15 s"
    database.may_write.set()
    await readiness.close()


async def test_slow_write_is_ready_however_rarely_somebody_asks(
    database: FaultyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked each half minute, a receiver that was busy for 2 s was taken out of rotation."""
    monkeypatch.setattr("sync.receiver.db.health.readiness._WAIT_SECONDS", 0.01)
    clock = MonotonicClock()
    readiness = Readiness(database, clock)
    clock.seconds += 2 * STALE_SECONDS
    database.may_write.clear()

    await readiness.check()

    database.may_write.set()
    await readiness.close()


async def test_check_does_not_wait_for_a_read_that_hangs(
    database: FaultyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused pooler: the answer had come after 17 s, long after whoever probes had gone."""
    monkeypatch.setattr("sync.receiver.db.health.readiness._WAIT_SECONDS", 0.01)
    readiness = Readiness(database, MonotonicClock())
    database.may_read.clear()

    async with asyncio.timeout(5):
        await readiness.check()

    database.may_read.set()
    await readiness.close()


@pytest.mark.parametrize("fault", [RuntimeError("closed"), ValueError("x"), KeyError("x")])
async def test_no_error_at_all_counts_as_ready(database: FaultyDatabase, fault: Exception) -> None:
    readiness = Readiness(database, MonotonicClock())
    database.fault = fault

    with pytest.raises(HttpError):
        await readiness.check()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (sqlite_error("SQLITE_FULL"), "the disk is full"),
        (sqlite_error("SQLITE_READONLY_DBMOVED"), "the database is read-only"),
        (OSError(28, "x"), "the disk is full"),
        (TimeoutError(110, "x"), "another process locks the database"),
        (sqlite_error("SQLITE_CORRUPT"), "the database reports an error, see the log"),
        (OSError("x"), "the database reports an error, see the log"),
        (OSError(13, "x"), "the database reports an error, see the log"),
    ],
)
async def test_reason_is_in_our_own_words(
    database: FaultyDatabase, fault: Exception, reason: str
) -> None:
    database.fault = fault

    with pytest.raises(HttpError) as raised:
        await Readiness(database, MonotonicClock()).check()

    assert raised.value.message == f"The ledger cannot be written: {reason}"


async def test_locked_database_is_not_ready(receiver: Receiver) -> None:
    with closing(sqlite3.connect(receiver.database, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")

        answer = await receiver.get("/readyz")

    wanted = "The ledger cannot be written: another process locks the database"
    status, reason = reason_in(answer)
    assert (status, str(reason).startswith(wanted)) == (503, True)
    assert answer.header("Retry-After") is not None


async def test_missing_table_is_not_ready(receiver: Receiver) -> None:
    """The probe's row stands in another table than the batches'."""
    with closing(sqlite3.connect(receiver.database)) as tool:
        tool.execute("DROP TABLE sessions")

    assert reason_in(await receiver.get("/readyz")) == (503, _NO_TABLE)


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE sessions CASCADE",
        "ALTER TABLE duplicates RENAME TO doubles",
        "REVOKE INSERT ON email_answers FROM {user}",
        "REVOKE DELETE ON gaps FROM {user}",
    ],
)
async def test_table_that_no_batch_could_write_to_is_not_ready(
    postgresql_server: PostgresqlServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    monkeypatch.setattr("sync.receiver.db.health.readiness.SUCCESS_TTL_SECONDS", 0)
    direct = await postgresql_server.new_database()
    url = await postgresql_server.owner(direct)
    user = url.partition("@")[0].rpartition("/")[2]
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        before = await receiver.get("/readyz")
        tool = await asyncpg.connect(direct.replace("+asyncpg", ""))
        await tool.execute(change.format(user=user))
        await tool.close()

        answer = await receiver.get("/readyz")

    assert before.status == 200
    assert reason_in(answer) == (503, _NO_TABLE)


async def test_server_without_a_connection_left_is_called_that(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    """It was called not reachable."""
    direct = await postgresql_server.new_database()
    url = await postgresql_server.owner(direct)
    user = url.partition("@")[0].rpartition("/")[2]
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        tool = await asyncpg.connect(direct.replace("+asyncpg", ""))
        await tool.execute(f"ALTER ROLE {user} CONNECTION LIMIT 0")
        await tool.execute(_END_THE_OTHERS)
        await tool.close()

        answer = await receiver.get("/readyz")

    words = "The ledger cannot be read: the database server has no connection left"
    assert reason_in(answer) == (503, words)


async def test_readiness_probe_leaves_no_row(receiver: Receiver) -> None:
    assert (await receiver.get("/readyz")).status == 200

    assert receiver.rows("SELECT * FROM boots") == []


async def test_read_only_server_is_not_ready(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    """Cloud servers become read-only when their disk is nearly full."""
    url = await postgresql_server.new_database()
    tool = await asyncpg.connect(url.replace("+asyncpg", ""))
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        name = await tool.fetchval("SELECT current_database()")
        await tool.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await tool.execute(_END_THE_OTHERS)

        answer = await receiver.get("/readyz")

    await tool.close()
    assert reason_in(answer) == (503, "The ledger cannot be written: the database is read-only")


async def test_receiver_on_postgresql_is_ready(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    url = await postgresql_server.new_database()
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        assert (await receiver.get("/readyz")).status == 200
