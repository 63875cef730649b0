"""`loyalty-hq forget` beside a running head office; checks the raw database files."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sync.receiver.cli import app
from tests.support.head_office.files import files_with
from tests.support.head_office.messages import SimulatedAgent, answer, session
from tests.support.head_office.process import HQ, hq, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import clean_environment, messages

pytestmark = pytest.mark.process

GUEST = "guest@example.com"


async def forget(receiver: Receiver, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = str(write_config(receiver.directory))
    return await asyncio.to_thread(hq, "--config", config, "forget", *arguments)


@pytest.fixture
async def receiver_with_captures(receiver: Receiver, till: SimulatedAgent) -> Receiver:
    """A head office with events of the guest."""
    await receiver.send(till, session(1, "one", body={"correlationId": "one", "mail": GUEST}))
    await receiver.send(till, *(answer(n, f"{n}", GUEST) for n in range(2, 21)))
    return receiver


async def test_no_byte_of_the_address_is_left_in_the_files(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, *(session(n, f"{n} {GUEST}") for n in range(1, 50)))
    await receiver.send(till, *(answer(n, f"{n}", GUEST) for n in range(50, 100)))
    before = await files_with(receiver.directory, GUEST)

    result = await forget(receiver, GUEST)

    assert "hq.db-wal" in before
    assert (result.returncode, messages(result.stderr)) == (0, "")
    assert await files_with(receiver.directory, GUEST) == []


async def test_output_reports_changes_without_the_address(receiver_with_captures: Receiver) -> None:
    result = await forget(receiver_with_captures, GUEST.upper())

    assert result.stdout.splitlines() == [
        "email_answers.email_address: 19 rows changed",
        "sessions.body: 1 row changed",
        "The address is erased.",
    ]


async def test_unknown_address_is_reported_as_success(receiver_with_captures: Receiver) -> None:
    result = await forget(receiver_with_captures, "other@example.com")

    assert (result.returncode, result.stdout) == (0, "The address was not found.\n")


async def test_address_can_be_read_from_standard_input(receiver_with_captures: Receiver) -> None:
    command = [*HQ, "--config", str(write_config(receiver_with_captures.directory)), "forget", "-"]

    result = await asyncio.to_thread(
        subprocess.run,
        command,
        input=f"{GUEST}\n",
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "The address is erased.")


async def test_head_office_keeps_serving_afterwards(
    receiver_with_captures: Receiver, till: SimulatedAgent
) -> None:
    await forget(receiver_with_captures, GUEST)

    taken = await receiver_with_captures.send(till, session(21, "later"))

    assert taken.members() == {"acceptedThrough": 21, "rejected": []}


async def test_backup_of_an_older_schema_is_named(receiver_with_captures: Receiver) -> None:
    copy = receiver_with_captures.directory / "hq.db.before-0002"
    await asyncio.to_thread(copy.write_bytes, GUEST.encode())

    result = await forget(receiver_with_captures, GUEST)

    assert result.returncode == 0
    assert str(copy) in result.stderr


@pytest.mark.parametrize("wrong", ["guest", "@example.com", "guest@"])
def test_invalid_address_is_rejected_without_being_repeated(tmp_path: Path, wrong: str) -> None:
    config = str(write_config(tmp_path / "state"))

    result = CliRunner().invoke(app, ["--config", config, "forget", "--", wrong])

    assert (result.exit_code, result.stdout) == (2, "")
    assert wrong not in result.stderr.replace("loyalty-hq", "")


def test_missing_database_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    result = hq("--config", str(write_config(tmp_path / "state")), "forget", GUEST)

    assert result.returncode == 1
    assert GUEST not in result.stderr
    assert not (tmp_path / "state").exists()


async def test_forget_prints_the_changed_tables_as_json(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1), answer(2, "one", GUEST))

    erased = await forget(receiver, GUEST, "--json")
    again = await forget(receiver, GUEST, "--json")

    changed = json.loads(erased.stdout)["changed"]
    assert {"place": "email_answers.email_address", "rows": 1} in changed
    assert json.loads(again.stdout) == {"changed": []}
