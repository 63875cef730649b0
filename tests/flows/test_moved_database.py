"""The database is removed, replaced or moved under the running agent: nothing acknowledged is lost.

After each of these, SQLite goes on writing to the file that it has open, which a restart does not
find again.
"""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from agent.doctor.store.database import check_in_place
from agent.store.files.high_water_mark import MARK_FILE
from agent.store.files.lock import LOCK_FILE, find_lock_holder
from tests.support.agent.process import AgentProcess, agent_process, delivering_to
from tests.support.central import ScriptedCentral, faults
from tests.support.faults.small_disk import small_disk
from tests.support.shop.records import records_of
from tests.support.shop.shop import trade_at, until_there
from tests.support.shop.verdict import judge
from tests.support.till.ledger import TillLedger
from tests.support.till.requests import Requests, get, send_request

pytestmark = [pytest.mark.process, pytest.mark.slow]

REQUESTS = Requests("127.0.0.1", 0)
DATABASE, WAL, SHM = "agent.db", "agent.db-wal", "agent.db-shm"
CUSTOMERS = 5
Happening = Callable[[Path], object]


def file_removed(state: Path) -> None:
    """Remove the database alone, as a clean-up by pattern does."""
    (state / DATABASE).unlink()


def all_removed(state: Path) -> None:
    """Remove everything of the database."""
    for name in (DATABASE, WAL, SHM):
        (state / name).unlink()


def file_moved(state: Path) -> None:
    """Move the database aside."""
    (state / DATABASE).rename(state / "agent.db.old")


def wal_removed(state: Path) -> None:
    """Remove the WAL: commits that are not in the database yet are in it alone."""
    (state / WAL).unlink()


def index_removed(state: Path) -> None:
    """Remove the index of the WAL: another process would rebuild it and checkpoint."""
    (state / SHM).unlink()


def replaced_by_stranger(state: Path) -> None:
    """Move another program's database to the path."""
    other = state / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE other (value)")
        connection.execute("INSERT INTO other VALUES ('a stranger')")
    other.rename(state / DATABASE)


def replaced_by_copy(state: Path) -> None:
    """Move an older copy of the database to the path, as a restore does."""
    shutil.copy(state.parent / "copy.db", state / "restored.db")
    (state / "restored.db").rename(state / DATABASE)


def copied_over(state: Path) -> None:
    """Copy an older copy over the open file: it keeps its inode."""
    shutil.copyfile(state.parent / "copy.db", state / DATABASE)


def directory_moved(state: Path) -> None:
    """Move the whole directory aside; with it go the key, the mark and the lock."""
    state.rename(state.with_name("state.old"))


def directory_replaced(state: Path) -> None:
    """Move the whole directory aside, and make an empty one."""
    directory_moved(state)
    state.mkdir(mode=0o700)


def marks_removed(state: Path) -> None:
    """Remove the mark and the lock file."""
    (state / MARK_FILE).unlink()
    (state / LOCK_FILE).unlink()


def all_files_removed(state: Path) -> None:
    """Remove all files in the directory, the key included."""
    for file in state.iterdir():
        file.unlink()


_USUAL: list[Happening] = [file_removed, replaced_by_copy, directory_moved]
_MORE: list[Happening] = [
    all_removed,
    file_moved,
    wal_removed,
    index_removed,
    replaced_by_stranger,
    copied_over,
    directory_replaced,
    marks_removed,
    all_files_removed,
]
HAPPENINGS = [
    *(pytest.param(one, id=one.__name__) for one in _USUAL),
    *(pytest.param(one, id=one.__name__, marks=pytest.mark.campaign) for one in _MORE),
]


@asynccontextmanager
async def agent_at(
    state: Path, central: ScriptedCentral, *program: str, **settings: str
) -> AsyncIterator[tuple[AgentProcess, int]]:
    """Run an agent that delivers to `central`."""
    variables = delivering_to(central.url) | settings
    options = {"program": program} if program else {}
    async with agent_process(state, settings=variables, **options) as child:  # type: ignore[arg-type]
        yield child, await child.ready()


@pytest.mark.parametrize("happening", HAPPENINGS)
async def test_everything_acknowledged_reaches_head_office(
    tmp_path: Path, happening: Happening
) -> None:
    """Captures go on without an error, and a killed agent finds all of them again."""
    state, ledger = tmp_path / "state", TillLedger()
    async with ScriptedCentral() as central:
        central.default_fault = lambda _: faults.reset_before
        async with agent_at(state, central) as (child, port):
            await trade_at(port, ledger, CUSTOMERS)
            shutil.copy(state / DATABASE, tmp_path / "copy.db")
            happening(state)
            await trade_at(port, ledger, CUSTOMERS)
            child.kill()
            await child.exit_code()
        central.default_fault = lambda _: None
        async with agent_at(state, central) as (child, port):
            records = await until_there(lambda: records_of(central), 4 * CUSTOMERS)
            child.terminate()
            assert await child.exit_code() == 0
    verdict = judge(ledger, records)
    assert verdict.is_clean, verdict
    assert verdict.at_central == 4 * CUSTOMERS


async def test_without_room_to_save_it_nothing_is_acknowledged_until_there_is(
    tmp_path: Path,
) -> None:
    """The open connection keeps everything; the doctor gives no advice that would destroy it."""
    limits = {
        "LOYALTY_AGENT__STORAGE__MIN_FREE_BYTES": "0",
        "LOYALTY_AGENT__STORAGE__BALLAST_BYTES": "0",
    }
    ledger = TillLedger()
    async with ScriptedCentral() as central, small_disk(tmp_path / "state", "4m") as disk:
        central.default_fault = lambda _: faults.reset_before
        async with agent_at(disk.inside, central, *disk.program, **limits) as (child, port):
            await trade_at(port, ledger, CUSTOMERS)
            disk.fill(leaving_bytes=200 * 1024)
            (disk.outside / DATABASE).unlink()
            unlucky = next(ledger.customers(1))
            refused = await send_request(port, REQUESTS.session(unlucky))
            assert (refused.status, b"room to save it" in refused.body) == (507, True)
            assert (await get(port, "/readyz")).status == 503
            moved = check_in_place(disk.outside, find_lock_holder(disk.outside) or 0)
            assert moved is not None
            assert "do not stop the agent" in str(moved)
            disk.free()
            await child.wait_for_log("store.rescued")
            # The refused one was committed, and is sent as any other.
            repeated = await send_request(port, REQUESTS.session(unlucky))
            assert repeated.status == 200
            await trade_at(port, ledger, CUSTOMERS)
            central.default_fault = lambda _: None
            records = await until_there(lambda: records_of(central), 4 * CUSTOMERS + 1)
    verdict = judge(ledger, records)
    assert verdict.is_clean, verdict
