"""`loyalty-hq enroll --csv`: all machines in a list are enrolled, or none."""

import asyncio
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from typer.testing import CliRunner

from sync.protocol.agent_token import hash_token
from sync.receiver.auth.enrolment_csv import parse_list
from sync.receiver.cli import app
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.process import hq, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import messages

pytestmark = pytest.mark.process

LIST = "store_id,till_id\n0043,till-1\n0043,till-2\n"
MACHINES = "SELECT store_id, till_id FROM tokens ORDER BY store_id, till_id"


def add_line(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text()}{line}\n")


async def enroll(receiver: Receiver, *arguments: str) -> CompletedProcess[str]:
    config = str(write_config(receiver.directory))
    return await asyncio.to_thread(hq, "--config", config, "enroll", *arguments)


def mode_of(file: Path) -> int:
    return file.stat().st_mode & 0o777


def lines_of(file: Path) -> list[str]:
    return file.read_text().splitlines()


@pytest.fixture
def list_file(tmp_path: Path) -> Path:
    file = tmp_path / "machines.csv"
    file.write_text(LIST)
    (tmp_path / "there").write_text("tokens of before")
    return file


async def test_tokens_of_a_list_are_printed_as_csv(receiver: Receiver, list_file: Path) -> None:
    result = await enroll(receiver, "--csv", str(list_file))

    assert (result.returncode, messages(result.stderr)) == (0, "")
    assert parse_list(result.stdout) == parse_list(LIST)
    token = result.stdout.splitlines()[1].split(",")[2]
    kept = receiver.rows("SELECT token_hash FROM tokens WHERE store_id = '0043' ORDER BY till_id")
    assert kept[0] == (hash_token(token),)


async def test_tokens_of_a_list_are_written_to_a_private_file(
    receiver: Receiver, list_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "tokens.csv"

    result = await enroll(receiver, "--csv", str(list_file), "--output", str(output))

    assert (result.returncode, result.stdout) == (0, "")
    assert mode_of(output) == 0o600
    token = lines_of(output)[2].split(",")[2]
    receiver.tokens["0043", "till-2"] = token
    assert (await receiver.send(SimulatedAgent("0043", "till-2"), session(1))).status == 200


async def test_one_invalid_line_enrolls_no_machine(receiver: Receiver, list_file: Path) -> None:
    add_line(list_file, "0043,a b")

    result = await enroll(receiver, "--csv", str(list_file))

    assert (result.returncode, result.stdout) == (2, "")
    assert f"{list_file}: no machine is enrolled:\n  line 4: till_id:" in result.stderr
    assert receiver.rows(MACHINES) == [("0042", "till-1")]


@pytest.mark.parametrize("output", ["there", "no/such/folder"])
async def test_uncreatable_output_file_enrolls_no_machine(
    receiver: Receiver, list_file: Path, tmp_path: Path, output: str
) -> None:
    """An existing file may hold tokens that are in use."""
    result = await enroll(receiver, "--csv", str(list_file), "--output", str(tmp_path / output))

    assert result.returncode in {1, 2}
    assert output in result.stderr
    assert receiver.rows(MACHINES) == [("0042", "till-1")]
    assert lines_of(tmp_path / "there") == ["tokens of before"]


@pytest.mark.parametrize(
    "arguments", [["0042", "till-1", "--csv", "list"], ["--output", "out"], ["--csv", "absent"]]
)
def test_invalid_argument_combinations_exit_with_2(tmp_path: Path, arguments: list[str]) -> None:
    config = str(write_config(tmp_path / "state"))

    result = CliRunner().invoke(app, ["--config", config, "enroll", *arguments])

    assert (result.exit_code, result.stdout) == (2, "")
    assert not (tmp_path / "state").exists()
