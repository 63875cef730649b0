"""Backups of both programs, made and restored as the documents say, on real processes."""

import asyncio
import re
import shlex
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from agent.drill.processes import free_port
from tests.support.agent.process import AgentProcess, agent, agent_process, delivering_to
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.process import ReceiverProcess, hq, receiver_process, write_config
from tests.support.processes import ROOT
from tests.support.shop.receivers import STORE, TILL, keep_token
from tests.support.shop.records import records_at, records_in
from tests.support.shop.shop import PATIENCE_SECONDS, trade_at
from tests.support.shop.verdict import StoredRecord, judge
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.process

_LOOK_SECONDS = 0.05
EPOCHS = "SELECT epoch FROM epoch ORDER BY number"
REJECTIONS = "SELECT error_code FROM rejections"


def steps(page: str, name: str, **places: str) -> str:
    """Return the commands of a document, for other places and without systemd and owners."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found is not None
    lines = [line for line in found[1].splitlines() if not line.startswith("systemctl ")]
    commands = re.sub(r" --(owner|group)=loyalty-(agent|hq)", "", "\n".join(lines))
    for place, other in places.items():
        commands = commands.replace(place, other)
    return commands


def run_steps(commands: str) -> None:
    subprocess.run(["/bin/sh", "-euc", commands], check=True, capture_output=True)


def lost_in(status: dict[str, object]) -> list[dict[str, object]]:
    """Return the captures that the agent names as lost, by epoch."""
    lost = status["lost"]
    assert isinstance(lost, list)
    return lost


class Office:
    """A head office in a process of its own, on one port."""

    def __init__(self, directory: Path, database: str = "") -> None:
        self.directory, self.database, self._port = directory, database, free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def file(self) -> Path:
        return self.directory / "hq.db"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ReceiverProcess]:
        """Serve until the block ends, then kill the process."""
        async with receiver_process(
            self.directory, database=self.database, port=self._port
        ) as running:
            await running.port()
            yield running

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        config = write_config(self.directory, database=self.database, port=self._port)
        return await asyncio.to_thread(hq, "--config", str(config), *arguments)

    async def records(self) -> list[StoredRecord]:
        if self.database:
            return await records_at(self.database)
        return records_in(self.file)

    async def until_there(self, count: int) -> list[StoredRecord]:
        """Wait until there are so many records; return them."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(there := await self.records()) < count:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(_LOOK_SECONDS)
        return there

    async def until_complete(self) -> None:
        """Wait until `completeness` finds nothing missing."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await self.command("completeness")).returncode:
                assert found.returncode == 1, found.stderr
                await asyncio.sleep(_LOOK_SECONDS)


class Machine:
    """A POS machine: its agent, restarted at will, and the customers of its tills."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory, self.ledger = directory, TillLedger()
        self._settings = settings

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Machine"]:
        """Run the agent until the block ends, then kill it."""
        async with agent_process(self.directory, settings=self._settings) as process:
            self.process: AgentProcess = process
            self.port = await process.ready()
            yield self

    async def trade(self, customers: int) -> None:
        await trade_at(self.port, self.ledger, customers)

    async def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        config = self.directory.with_name(f"{self.directory.name}.toml")
        return await asyncio.to_thread(agent, "--config", str(config), *arguments)

    async def back_up(self, file: Path) -> None:
        made = await self.command("backup", str(file))
        assert made.returncode == 0, made.stderr

    def restore(self, copy: Path) -> None:
        """Restore a backup as the page of store IT says."""
        where = {"/root/agent-backup.db": str(copy), "/var/lib/loyalty-agent": str(self.directory)}
        run_steps(steps("store-it.md", "restore", **where))

    async def get(self, path: str) -> dict[str, object]:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as client:
            answer: dict[str, object] = await (await client.get(path)).json()
            return answer

    async def status(self) -> dict[str, object]:
        return await self.get("/agent/v1/status")

    async def until(self, is_so: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so(status := await self.status()):  # noqa: ASYNC110 - another process's
                await asyncio.sleep(_LOOK_SECONDS)
        return status

    def epochs(self) -> list[str]:
        with closing(sqlite3.connect(f"file:{self.directory}/agent.db?mode=ro", uri=True)) as one:
            return [epoch for (epoch,) in one.execute(EPOCHS)]

    async def until_receipts_are_known(self) -> None:
        """Check that the agent answers every till's receipt."""
        for (kind, name), receipt in self.ledger.acknowledged.items():
            if kind.value == "session":
                page = await self.get(f"/agent/v1/sessions/{name}")
                assert f"{page['epoch']}/{page['sequence']}" == receipt


async def joined(office: Office, directory: Path) -> Machine:
    """Return a machine that is enrolled at `office`."""
    enrolled = await office.command("enroll", STORE, TILL)
    token = keep_token(directory.with_name("token"), enrolled.stdout.strip())
    settings = delivering_to(office.url) | {
        "LOYALTY_AGENT__CENTRAL__AUTH__KIND": "bearer",
        "LOYALTY_AGENT__CENTRAL__AUTH__TOKEN_FILE": str(token),
        "LOYALTY_AGENT__RETENTION__EMAIL_DAYS_AFTER_DELIVERY": "7",
    }
    return Machine(directory, settings)


async def test_agent_restored_from_a_backup_begins_an_epoch_and_delivers_everything_once(
    tmp_path: Path,
) -> None:
    office, copy = Office(tmp_path / "hq"), tmp_path / "copy.db"
    machine = await joined(office, tmp_path / "state")
    async with machine.running():
        async with office.serving():
            await machine.trade(5)
            await office.until_there(10)
        await machine.trade(5)  # in the backup, and not delivered
        await machine.back_up(copy)
        async with office.serving():
            await machine.trade(5)  # delivered after the backup
            await office.until_there(30)
    machine.restore(copy)

    async with office.serving(), machine.running():
        await machine.trade(5)
        records = await office.until_there(40)
        await machine.until(lambda status: status["waiting"] == 0)
        await office.until_complete()

    verdict = judge(machine.ledger, records)
    assert verdict.is_clean, verdict
    assert len(machine.epochs()) == 2


async def test_pending_captures_of_a_backup_arrive_and_later_ones_are_named_as_lost(
    tmp_path: Path,
) -> None:
    office, copy = Office(tmp_path / "hq"), tmp_path / "copy.db"
    machine = await joined(office, tmp_path / "state")
    async with machine.running():
        async with office.serving():
            await machine.trade(5)
            await office.until_there(10)
        await machine.trade(5)
        await machine.back_up(copy)
        kept, machine.ledger = machine.ledger, TillLedger()
        await machine.trade(3)  # lost
    machine.ledger = kept
    machine.restore(copy)

    async with office.serving(), machine.running():
        records = await office.until_there(20)
        await machine.until_receipts_are_known()
        status = await machine.until(lambda status: status["waiting"] == 0)

    verdict = judge(machine.ledger, records)
    assert verdict.is_clean, verdict
    assert [one["captures"] for one in lost_in(status)] == [6]


async def test_head_office_restored_from_a_backup_on_sqlite_is_complete_again(
    tmp_path: Path,
) -> None:
    office, copy = Office(tmp_path / "hq"), tmp_path / "copy.db"
    machine = await joined(office, tmp_path / "state")
    async with machine.running():
        async with office.serving():
            await machine.trade(5)
            await office.until_there(10)
            made = await office.command("backup", str(copy))
            assert made.returncode == 0, made.stderr
            await machine.trade(5)
            await office.until_there(20)
        where = {"/root/hq-backup.db": str(copy), "/var/lib/loyalty-hq": str(office.directory)}
        run_steps(steps("head-office.md", "restore-sqlite", **where))
        assert len(await office.records()) == 10

        async with office.serving():
            await machine.trade(1)
            records = await office.until_there(22)
            await office.until_complete()

    verdict = judge(machine.ledger, records)
    assert verdict.is_clean, verdict


async def test_head_office_restored_from_a_dump_of_postgresql_is_complete_again(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    server, dump = postgresql_server, tmp_path / "dump"
    office = Office(tmp_path / "hq", await server.owner(await server.new_database()))
    machine = await joined(office, tmp_path / "state")
    async with machine.running():
        async with office.serving():
            await machine.trade(5)
            await office.until_there(10)
            await asyncio.to_thread(run_pg_steps, "dump", server, office.database, dump)
            await machine.trade(5)
            await office.until_there(20)
        office.database = await asyncio.to_thread(
            run_pg_steps, "restore-dump", server, office.database, dump
        )
        assert len(await office.records()) == 10

        async with office.serving():
            await machine.trade(1)
            records = await office.until_there(22)
            await office.until_complete()
            audited = await office.command("audit")

    verdict = judge(machine.ledger, records)
    assert verdict.is_clean, verdict
    assert "enroll" in audited.stdout
    await require_audit_log_is_closed(office.database)


def run_pg_steps(name: str, server: PostgresqlServer, database: str, dump: Path) -> str:
    """Run the documented steps on `database`; return the URL of the restored one."""
    owner = database.partition("?")[0].rpartition("/")[2]
    plain = database.replace("+asyncpg", "")
    restored = f"/{owner}_new?".join(database.rsplit(f"/{owner}?", 1))
    documented = steps("head-office.md", name).splitlines()
    commands = "\n".join(line for line in documented if not line.startswith("sed "))
    for place, other in (
        ("postgresql://loyalty_hq@db.example.com/loyalty_hq_new", shlex.quote(restored)),
        ("postgresql://loyalty_hq@db.example.com/loyalty_hq", shlex.quote(plain)),
        ("+asyncpg", ""),
        ("db.example.com", f"{server.socket} --username=postgres"),
        ("loyalty_hq", owner),
        ("/root/hq.dump", str(dump)),
    ):
        commands = commands.replace(place, other)
    run_steps(f"PATH={server.commands}:$PATH\n{commands}")
    return restored


async def require_audit_log_is_closed(url: str) -> None:
    """Check that the restored audit log still refuses changes."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute("DELETE FROM audit_log")
    await connection.close()
