"""Reports say as of when they speak; a wrong period or unknown name is an error, no empty list."""

import asyncio
import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.head_office.messages import EPOCH, SimulatedAgent, session
from tests.support.head_office.process import hq, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import messages

pytestmark = pytest.mark.process


async def run(receiver: Receiver, *arguments: str) -> CompletedProcess[str]:
    config = str(write_config(receiver.directory))
    return await asyncio.to_thread(hq, "--config", config, *arguments)


UNKNOWN = [
    ("completeness", "--store", "4711"),
    ("export", "--store", "4711"),
    ("gaps", "list", "--store", "4711"),
    ("gaps", "acknowledge", "4711", "till-1", EPOCH, "1", "--reason", "x"),
    ("epochs", "list", "--store", "4711"),
    ("epochs", "acknowledge", "4711", "till-1", EPOCH, "--reason", "x"),
    ("audit", "--store", "4711"),
    ("revoke", "4711", "till-1"),
    ("revoke", "--list", "4711"),
    ("retire", "4711", "till-1"),
]
WRONG_PERIODS = [
    ("completeness", "--from", "2026-03-05", "--to", "2026-03-04"),
    ("completeness", "--from", "last week"),
    ("export", "--from", "2026-03-04", "--to", "2026-03-04"),
    ("export", "--since", "2026-03-05", "--until", "2026-03-04"),
    ("export", "gaps", "--from", "2026-03-04"),
    ("audit", "--from", "2026-03-05", "--to", "2026-03-04"),
]


@pytest.mark.parametrize("arguments", UNKNOWN, ids=" ".join)
async def test_unknown_store_is_wrong_use(
    receiver: Receiver, till: SimulatedAgent, arguments: tuple[str, ...]
) -> None:
    ended = await run(receiver, *arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "4711" in messages(ended.stderr)


@pytest.mark.parametrize("arguments", WRONG_PERIODS, ids=" ".join)
async def test_wrong_period_is_wrong_use(
    receiver: Receiver, till: SimulatedAgent, arguments: tuple[str, ...]
) -> None:
    ended = await run(receiver, *arguments)

    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("path", ["/v1/completeness?store=4711", "/v1/stores/4711"])
async def test_unknown_store_is_not_found_over_http(receiver: Receiver, path: str) -> None:
    assert (await receiver.get(path)).status == 404


@pytest.mark.parametrize("path", ["/history?store=4711", "/history.json?store=4711"])
async def test_history_of_an_unknown_store_is_not_found(receiver: Receiver, path: str) -> None:
    assert (await receiver.get(path)).status == 404


async def test_report_of_a_day_counts_its_captures_and_says_as_of_when(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1, occurredAt="2026-03-03T23:59:59Z"), session(2))

    day = await receiver.get("/v1/completeness?from=2026-03-04&to=2026-03-05")
    listed = await run(receiver, "completeness", "--from", "2026-03-04", "--to", "2026-03-05")
    wrong = await receiver.get("/v1/completeness?from=2026-03-05&to=2026-03-04")

    report = day.members()
    assert (report["captured"], report["complete"], wrong.status) == (1, True, 400)
    assert (report["from"], report["to"]) == (
        "2026-03-04T00:00:00.000Z",
        "2026-03-05T00:00:00.000Z",
    )
    assert report["asOf"] == "2026-03-04T05:06:07.000Z"
    assert listed.returncode == 1, "the till was not heard since the end of the period"
    assert "1 capture here from 2026-03-04T00:00:00.000Z to 2026-03-05" in listed.stdout
    assert "As of " in listed.stdout


async def test_period_that_has_not_ended_is_said_to_go_on(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1))

    ended = await run(receiver, "completeness", "--from", "2026-03-04", "--to", "2026-03-05")
    going_on = await run(receiver, "completeness", "--from", "2026-03-04", "--to", "2126-03-05")

    assert "The period has not ended" not in ended.stdout
    assert "The period has not ended" in going_on.stdout


async def test_export_says_as_of_when_and_for_whom_it_cannot_speak(
    receiver: Receiver, till: SimulatedAgent, tmp_path: Path
) -> None:
    await receiver.send(till, session(1), session(2, occurredAt="1970-01-01T00:00:00Z"))
    file = tmp_path / "march.csv"

    period = ("--from", "2026-03-04", "--to", "2126-03-05")
    ended = await run(receiver, "export", *period, "--output", str(file))

    about = json.loads((tmp_path / "march.csv.about.json").read_text())
    assert ended.returncode == 0
    assert (about["table"], about["rows"], about["untrustedTimes"]) == ("sessions", 2, 1)
    assert about["cannotSpeakFor"]["count"] == 1
    assert about["cannotSpeakFor"]["tills"][0]["storeId"] == "0042"
    assert about["asOf"]
    assert "0042/till-1 (silent" in ended.stderr
    assert "1 row selected by the time of receipt" in ended.stderr
