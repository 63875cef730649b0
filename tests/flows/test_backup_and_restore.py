"""Backups of both programs, made and restored as the documents say, on real processes."""

import asyncio
import re
import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.replication import single_server
from tests.support.processes import ROOT
from tests.support.shop.machines import Machine, Office, joined
from tests.support.shop.verdict import judge
from tests.support.till.ledger import TillLedger

pytestmark = pytest.mark.process


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


def restore(machine: Machine, copy: Path) -> None:
    """Restore a backup as the page of store IT says."""
    where = {"/root/agent-backup.db": str(copy), "/var/lib/loyalty-agent": str(machine.directory)}
    run_steps(steps("store-it.md", "restore", **where))


@asynccontextmanager
async def backed_up(office: Office, state: Path, copy: Path) -> AsyncIterator[Machine]:
    """Run a machine whose backup has ten delivered captures and ten that are not delivered."""
    machine = await joined(office, state)
    async with machine.running():
        async with office.serving():
            await machine.trade(5)
            await office.until_there(10)
        await machine.trade(5)
        await machine.back_up(copy)
        yield machine


async def test_agent_restored_from_a_backup_begins_an_epoch_and_delivers_everything_once(
    tmp_path: Path,
) -> None:
    office, copy = Office(tmp_path / "hq"), tmp_path / "copy.db"
    async with backed_up(office, tmp_path / "state", copy) as machine, office.serving():
        await machine.trade(5)  # delivered after the backup
        await office.until_there(30)
    restore(machine, copy)

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
    async with backed_up(office, tmp_path / "state", copy) as machine:
        kept, machine.ledger = machine.ledger, TillLedger()
        await machine.trade(3)  # lost
    machine.ledger = kept
    restore(machine, copy)

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


async def test_head_office_restored_from_a_base_backup_of_postgresql_is_complete_again(
    tmp_path: Path,
) -> None:
    with single_server() as server:
        url = f"postgresql+asyncpg://postgres@{server.place}/hq"
        office, copy = Office(tmp_path / "hq", url), server.data.with_name("copy")
        machine = await joined(office, tmp_path / "state")
        async with machine.running():
            async with office.serving():
                await machine.trade(5)
                await office.until_there(10)
                await asyncio.to_thread(server.back_up, copy)
                await machine.trade(5)
                await office.until_there(20)
            await asyncio.to_thread(server.restore, copy)
            assert len(await office.records()) == 10

            async with office.serving():
                await machine.trade(1)
                records = await office.until_there(22)
                await office.until_complete()

    verdict = judge(machine.ledger, records)
    assert verdict.is_clean, verdict


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
