"""A tablespace without room: the probe's row still fits into a page, and no batch does."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.receiver import receiver_under_test, settings_in

pytestmark = pytest.mark.process

_BYTES = 32 * 1024 * 1024


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a small file system that the server may write to."""
    directory = Path(tempfile.mkdtemp(prefix="small-"))
    options = f"size={_BYTES},mode=0777"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode != 0:
        directory.rmdir()
        pytest.skip("needs a user who may mount a file system")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)
    directory.rmdir()


async def test_receiver_on_a_full_tablespace_is_not_ready_until_there_is_room(
    postgresql_server: PostgresqlServer,
    small_disk: Path,
    till: SimulatedAgent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sync.receiver.db.health.readiness.SUCCESS_TTL_SECONDS", 0)
    monkeypatch.setattr("sync.receiver.db.health.readiness.FAILURE_TTL_SECONDS", 0)
    files = small_disk / "files"
    files.mkdir()
    shutil.copystat(postgresql_server.data, files)
    owner = postgresql_server.data.stat()
    os.chown(files, owner.st_uid, owner.st_gid)
    url = await postgresql_server.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    tool = await asyncpg.connect(url.replace("+asyncpg", "").replace(name, "postgres"))
    await tool.execute(f"CREATE TABLESPACE small LOCATION '{files}'")
    await tool.execute(f"ALTER DATABASE {name} SET TABLESPACE small")
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1))
        ready = await receiver.get("/readyz")
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 4096))
        full = await receiver.get("/readyz")
        ballast.unlink()
        again = await receiver.get("/readyz")
    await tool.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await tool.execute("DROP TABLESPACE small")
    await tool.close()

    assert (ready.status, full.status, again.status) == (200, 503, 200)
    wanted = "The ledger cannot be written: the disk is full"
    assert full.members()["errorMessage"] == wanted
