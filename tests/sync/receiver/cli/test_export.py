"""`loyalty-hq export`: output, selection and failed exports."""

import asyncio
import csv
import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sync.receiver.cli import app
from sync.receiver.cli.output import Output, OutputError
from tests.support.head_office.messages import AT, SimulatedAgent, answer, session
from tests.support.head_office.process import HQ, hq, hq_on_terminal, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import messages

pytestmark = pytest.mark.process

GUEST = "guest@example.com"


@pytest.fixture
async def receiver_with_captures(receiver: Receiver, till: SimulatedAgent) -> Receiver:
    await receiver.send(till, session(1, "=one"), answer(2, "=one", GUEST), session(3, "two"))
    return receiver


async def export(receiver: Receiver, *arguments: str) -> CompletedProcess[str]:
    config = str(write_config(receiver.directory))
    return await asyncio.to_thread(hq, "--config", config, "export", *arguments)


def notes(result: CompletedProcess[str]) -> list[str]:
    """Return the messages after those as of when it speaks, and for which tills it cannot."""
    as_of, silent, *others = messages(result.stderr).splitlines()
    assert as_of.startswith("loyalty-hq: As of ")
    assert "0042/till-1 (silent" in silent
    return others


def parquet_in(file: Path) -> list[dict[str, object]]:
    table: Any = pq.read_table(file)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


async def test_export_prints_sessions_as_csv_by_default(receiver_with_captures: Receiver) -> None:
    result = await export(receiver_with_captures)

    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert (result.returncode, notes(result)) == (0, [])
    assert [row["correlation_id"] for row in rows] == ["=one", "two"]
    assert json.loads(rows[0]["body"]) == {"correlationId": "=one", "channel": "pos"}


async def test_export_to_a_terminal_prints_the_rows_and_what_is_to_know_of_them(
    receiver_with_captures: Receiver,
) -> None:
    config = str(write_config(receiver_with_captures.directory))

    shown = await asyncio.to_thread(hq_on_terminal, "--config", config, "export")

    # CSV lines end with CRLF, to which the terminal adds a CR.
    heading, *rows = (line for line in shown if line and not line.startswith("loyalty-hq: "))
    assert heading.startswith("store_id,")
    assert [row.partition(",")[0] for row in rows[:2]] == ["0042", "0042"]


async def test_spreadsheet_export_reports_escaped_formulas(
    receiver_with_captures: Receiver,
) -> None:
    result = await export(receiver_with_captures, "--for-spreadsheet")

    assert "'=one" in result.stdout
    assert notes(result) == ["loyalty-hq: prefixed 1 text with ' to prevent formulas"]


async def test_output_file_is_private_to_its_user(
    receiver_with_captures: Receiver, tmp_path: Path
) -> None:
    """The table holds e-mail addresses."""
    file = tmp_path / "answers.parquet"

    result = await export(
        receiver_with_captures, "email_answers", "--format", "parquet", "--output", str(file)
    )

    assert (result.returncode, result.stdout, notes(result)) == (0, "", [])
    about = tmp_path / "answers.parquet.about.json"
    assert {one.stat().st_mode & 0o777 for one in (file, about)} == {0o600}
    (row,) = parquet_in(file)
    assert (row["email_address"], row["received_at"]) == (GUEST, AT)


async def test_export_selects_by_store_and_time(receiver_with_captures: Receiver) -> None:
    day = ("--format", "jsonl", "--store", "0042", "--since", "2026-03-04", "--until", "2026-03-05")

    result = await export(receiver_with_captures, *day)

    assert [json.loads(line)["sequence"] for line in result.stdout.splitlines()] == [1, 3]


def test_failed_export_keeps_the_previous_file(tmp_path: Path) -> None:
    file = tmp_path / "sessions.csv"
    file.write_text("of yesterday")

    result = hq("--config", str(write_config(tmp_path / "state")), "export", "--output", str(file))

    assert result.returncode == 1
    assert f"{tmp_path}/state/hq.db" in result.stderr
    assert file.read_text() == "of yesterday"
    assert sorted(place.name for place in tmp_path.iterdir()) == ["sessions.csv", "state.toml"]


async def test_full_disk_is_reported(receiver_with_captures: Receiver) -> None:
    config = str(write_config(receiver_with_captures.directory))
    command = f'exec "$@" --config {config} export > /dev/full'

    result = await asyncio.to_thread(hq, program=("sh", "-c", command, "sh", *HQ))

    assert (result.returncode, result.stdout) == (1, "")
    assert "standard output (No space left on device)" in result.stderr


def test_full_disk_is_not_reported_as_a_database_error() -> None:
    """Database and output are both in use while a table is exported."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        output = Output(full)

        with pytest.raises(OutputError, match="No space left"):
            output.write(b"rows")


@pytest.mark.parametrize(
    "arguments",
    [
        ["tokens"],
        ["--format", "xlsx"],
        ["--since", "yesterday"],
        ["--store", "a b"],
        ["--for-spreadsheet", "--format", "jsonl"],
    ],
)
def test_invalid_arguments_exit_with_2(tmp_path: Path, arguments: list[str]) -> None:
    config = str(write_config(tmp_path / "state"))

    result = CliRunner().invoke(app, ["--config", config, "export", *arguments])

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
