"""Forgetting on the command line, beside a head office that serves: the files, read raw."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sync.receiver.cli import app
from tests.head_office.files import files_with
from tests.head_office.process import HQ, clean_environment, configured, hq
from tests.head_office.receiver import Receiver
from tests.head_office.sender import Sender, answer, session

GUEST = "guest@example.com"


async def forget(receiver: Receiver, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = str(configured(receiver.directory))
    return await asyncio.to_thread(hq, "--config", config, "forget", *arguments)


@pytest.fixture
async def used(receiver: Receiver, till: Sender) -> Receiver:
    """A head office that knows the guest."""
    await receiver.send(till, session(1, "one", body={"correlationId": "one", "mail": GUEST}))
    await receiver.send(till, *(answer(n, f"{n}", GUEST) for n in range(2, 21)))
    return receiver


async def test_no_byte_of_it_is_left_in_the_files(receiver: Receiver, till: Sender) -> None:
    await receiver.send(till, *(session(n, f"{n} {GUEST}") for n in range(1, 50)))
    await receiver.send(till, *(answer(n, f"{n}", GUEST) for n in range(50, 100)))
    before = await files_with(receiver.directory, GUEST)

    told = await forget(receiver, GUEST)

    assert "hq.db-wal" in before
    assert (told.returncode, told.stderr) == (0, "")
    assert await files_with(receiver.directory, GUEST) == []


async def test_it_says_what_it_did_and_never_to_whom(used: Receiver) -> None:
    told = await forget(used, GUEST.upper())

    assert told.stdout.splitlines() == [
        "email_answers.email_address: 19 rows changed",
        "sessions.body: 1 rows changed",
        "The address is erased.",
    ]


async def test_where_it_is_not_there_that_is_said_and_is_fine(used: Receiver) -> None:
    told = await forget(used, "other@example.com")

    assert (told.returncode, told.stdout) == (0, "The address is not there.\n")


async def test_it_can_come_from_standard_input(used: Receiver) -> None:
    command = [*HQ, "--config", str(configured(used.directory)), "forget", "-"]

    told = await asyncio.to_thread(
        subprocess.run,
        command,
        input=f"{GUEST}\n",
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "The address is erased.")


async def test_head_office_serves_on_afterwards(used: Receiver, till: Sender) -> None:
    await forget(used, GUEST)

    taken = await used.send(till, session(21, "later"))

    assert taken.members() == {"acceptedThrough": 21, "rejected": []}


async def test_a_copy_of_an_older_schema_is_named(used: Receiver) -> None:
    copy = used.directory / "hq.db.before-0002"
    await asyncio.to_thread(copy.write_bytes, GUEST.encode())

    told = await forget(used, GUEST)

    assert told.returncode == 0
    assert str(copy) in told.stderr


@pytest.mark.parametrize("wrong", ["guest", "@example.com", "guest@"])
def test_what_is_no_address_is_wrong_use_and_not_repeated(tmp_path: Path, wrong: str) -> None:
    config = str(configured(tmp_path / "state"))

    told = CliRunner().invoke(app, ["--config", config, "forget", "--", wrong])

    assert (told.exit_code, told.stdout) == (2, "")
    assert wrong not in told.stderr.replace("loyalty-hq", "")


def test_without_a_database_there_is_trouble_and_nothing_is_made(tmp_path: Path) -> None:
    told = hq("--config", str(configured(tmp_path / "state")), "forget", GUEST)

    assert told.returncode == 1
    assert GUEST not in told.stderr
    assert not (tmp_path / "state").exists()
