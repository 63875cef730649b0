"""`loyalty-hq backup`: a private copy of the SQLite file beside a running head office."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.support.head_office.messages import SimulatedAgent, answer, session
from tests.support.head_office.process import hq, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import messages
from tests.support.sqlite import rows_in

pytestmark = pytest.mark.process


async def backup(
    directory: Path, file: Path, database: str = ""
) -> subprocess.CompletedProcess[str]:
    config = str(write_config(directory, database=database))
    return await asyncio.to_thread(hq, "--config", config, "backup", str(file))


async def test_backup_beside_a_running_head_office_holds_all_events(
    receiver: Receiver, till: SimulatedAgent, tmp_path: Path
) -> None:
    await receiver.send(till, session(1, "one"), answer(2, "one", "guest@example.com"))
    copy = tmp_path / "copy.db"

    result = await backup(receiver.directory, copy)

    assert (result.returncode, messages(result.stderr)) == (0, "")
    assert "e-mail addresses in plain text" in result.stdout
    assert "Not in it: the private key" not in result.stdout
    assert copy.stat().st_mode & 0o777 == 0o600
    assert rows_in(copy, "SELECT correlation_id FROM sessions") == [("one",)]
    assert rows_in(copy, "SELECT email_address FROM email_answers") == [("guest@example.com",)]


async def test_backup_says_that_the_private_key_is_not_in_it(
    receiver: Receiver, tmp_path: Path
) -> None:
    key = receiver.directory / "hq.private-key.pem"
    key.write_text("a key")

    result = await backup(receiver.directory, tmp_path / "copy.db")

    assert f"Not in it: the private key {key}" in result.stdout


async def test_backup_refuses_an_existing_file_and_the_storage_directory(
    receiver: Receiver, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")

    results = [await backup(receiver.directory, taken)]
    results.append(await backup(receiver.directory, receiver.directory / "copy.db"))

    assert [one.returncode for one in results] == [2, 2]
    assert taken.read_text() == "mine"
    assert "in the directory of the database" in results[1].stderr


async def test_backup_of_a_missing_database_creates_none(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()

    result = await backup(tmp_path / "state", tmp_path / "copy.db")

    assert result.returncode == 2
    assert "there is no database" in result.stderr
    assert list((tmp_path / "state").iterdir()) == []


async def test_backup_on_postgresql_names_the_servers_own(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://hq@localhost/hq"

    result = await backup(tmp_path / "state", tmp_path / "copy.db", url)

    assert result.returncode == 2
    assert "pg_dump" in result.stderr
