"""Completeness report over HTTP and on the command line."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import aiohttp
import pytest

from tests.support.head_office.messages import EPOCH, SimulatedAgent, session, sessions
from tests.support.head_office.process import hq, hq_on_terminal, write_config
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.processes import messages
from tests.support.terminal import COLUMNS
from tests.sync.receiver.conftest import StartReceiver

STORES = 300


def lose(receiver: Receiver, sequences: Sequence[int]) -> None:
    gone = "DELETE FROM sessions WHERE store_id = '0042' AND sequence = ?"
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.executemany(gone, [(number,) for number in sequences])


async def completeness(receiver: Receiver, *arguments: str) -> CompletedProcess[str]:
    config = str(write_config(receiver.directory))
    return await asyncio.to_thread(hq, "--config", config, "completeness", *arguments)


@pytest.fixture
async def other(receiver: Receiver, till: SimulatedAgent) -> SimulatedAgent:
    """A store whose captures are complete, next to one that has sent nine."""
    other = SimulatedAgent(store_id="0043")
    await receiver.enroll(other)
    await receiver.send(other, *sessions(1, 2))
    await receiver.send(till, *sessions(1, 9))
    return other


async def test_report_lists_exact_ranges_per_epoch(
    receiver: Receiver, other: SimulatedAgent
) -> None:
    lose(receiver, [3, 4, 7])
    await receiver.heartbeat(SimulatedAgent(), lastSequence=11)

    answered = await receiver.get("/v1/completeness")

    result = answered.members()
    assert result["complete"] is False
    assert isinstance(result["epochs"], list)
    assert result["epochs"][0] == {
        "storeId": "0042",
        "tillId": "till-1",
        "epoch": EPOCH,
        "listed": True,
        "acceptedThrough": 9,
        "completeThrough": 2,
        "purgedThrough": 0,
        "outstanding": [{"first": 10, "last": 11}],
        "rejected": [],
        "gaps": [],
        "acknowledgedGaps": [],
        "missing": [{"first": 3, "last": 4}, {"first": 7, "last": 7}],
    }


async def test_report_can_be_limited_to_one_store(
    receiver: Receiver, other: SimulatedAgent
) -> None:
    lose(receiver, [3])

    theirs = (await receiver.get("/v1/completeness?store=0043")).members()
    ours = (await receiver.get("/v1/completeness?store=0042")).members()

    assert (theirs["complete"], ours["complete"]) == (True, False)


async def test_unknown_store_is_404_and_not_complete(receiver: Receiver) -> None:
    assert (await receiver.get("/v1/completeness?store=0099")).status == 404


async def test_empty_head_office_returns_a_valid_document(
    start_receiver: StartReceiver,
) -> None:
    receiver = await start_receiver()

    answered = await receiver.get("/v1/completeness")

    assert answered.members() == {
        "asOf": "2026-03-04T05:06:07.000Z",
        "epochs": [],
        "complete": True,
        "cannotSpeakFor": {"count": 0, "tills": []},
        "notInstalled": 0,
        "closed": 0,
    }


async def test_streamed_response_has_the_common_headers(
    receiver: Receiver, other: SimulatedAgent
) -> None:
    streamed, whole = await receiver.get("/v1/completeness"), await receiver.get("/v1/stores")

    names = ("Server", "Cache-Control", "X-Content-Type-Options", "Content-Type")
    assert [streamed.header(name) for name in names] == [whole.header(name) for name in names]


async def test_report_is_ordered_by_store(receiver: Receiver, other: SimulatedAgent) -> None:
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.executemany(
            "INSERT INTO agents (store_id, till_id, epoch, accepted_through, last_sequence)"
            " VALUES (?, 'till-1', 'e', 1, 1)",
            [(f"1{number:05}",) for number in range(STORES)],
        )

    result = json.loads((await receiver.get("/v1/completeness")).body)

    names = [epoch["storeId"] for epoch in result["epochs"]]
    assert names == ["0042", "0043", *(f"1{number:05}" for number in range(STORES))]


async def test_error_while_streaming_breaks_the_connection(
    receiver: Receiver, other: SimulatedAgent
) -> None:
    """The second store cannot be read after the first part of the body was sent."""
    with closing(sqlite3.connect(receiver.database)) as tool, tool:
        tool.execute("UPDATE agents SET accepted_through = 'many' WHERE store_id = '0043'")

    with pytest.raises(aiohttp.ClientPayloadError):
        await receiver.get("/v1/completeness")


@pytest.mark.process
async def test_command_lists_missing_ranges_and_exits_with_1(
    receiver: Receiver, other: SimulatedAgent
) -> None:
    lose(receiver, [3, 4, 7])

    result = await completeness(receiver)

    assert result.returncode == 1
    _, row, verdict, *_ = result.stdout.splitlines()
    assert row.split() == ["0042", "till-1", EPOCH, "2", "missing", "3-4,", "7"]
    assert verdict.startswith("Incomplete, 1 of 2 epochs: 3 missing,")


@pytest.mark.process
async def test_command_output_fits_a_terminal(receiver: Receiver, other: SimulatedAgent) -> None:
    """Each epoch has a line; its missing ranges follow below, wrapped."""
    await receiver.send(SimulatedAgent(), *sessions(10, 60))
    lost = range(1, 60, 2)
    lose(receiver, lost)

    config = str(write_config(receiver.directory))
    heading, *shown = await asyncio.to_thread(hq_on_terminal, "--config", config, "completeness")

    assert max(map(len, shown)) <= COLUMNS
    assert heading.split() == ["STORE", "TILL", "EPOCH", "COMPLETE"]
    assert shown[0].split() == ["0042", "till-1", EPOCH, "0"]
    below = [line for line in shown if line.startswith("    ")]
    numbers = "".join(below).replace("    ", " ").strip()
    assert numbers == f"missing: {', '.join(map(str, lost))}"
    assert shown[1 + len(below)].startswith("Incomplete, 1 of 2 epochs: 30 missing,")


@pytest.mark.process
async def test_command_exits_with_1_beside_a_till_that_it_cannot_speak_for(
    receiver: Receiver, other: SimulatedAgent
) -> None:
    """All that is known is here; what a silent till has captured since is not known."""
    result = await completeness(receiver)

    assert (result.returncode, messages(result.stderr)) == (1, "")
    assert result.stdout.splitlines()[0].startswith("Complete, 2 epochs:"), "no heading, no rows"
    assert "2 tills may have captures that are not known here" in result.stdout


SILENT = "{} may have captures that are not known here: "


@pytest.mark.process
async def test_command_counts_silent_tills(receiver: Receiver, other: SimulatedAgent) -> None:
    """Head office cannot know of captures that a silent till has made since."""
    await receiver.enroll(SimulatedAgent(store_id="0044"))

    of_all, of_one = await completeness(receiver), await completeness(receiver, "--store", "0043")

    unknown, new = of_all.stdout.splitlines()[-2:]
    assert unknown.startswith(SILENT.format("2 tills"))
    assert "0042/till-1 (silent, heard 2026-03-04T05:06:07.000Z)" in unknown
    assert new == "1 till not yet installed."
    assert of_one.stdout.splitlines()[-1].startswith(SILENT.format("1 till"))


@pytest.mark.process
async def test_command_exits_with_0_if_each_installed_till_was_heard(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    async with receiver_under_test(settings, now=lambda: datetime.now(UTC)) as receiver:
        await receiver.enroll(SimulatedAgent())
        await receiver.send(SimulatedAgent(), session(1))

        await receiver.enroll(SimulatedAgent(till_id="not-yet"))
        result = await completeness(receiver)
        as_json = await completeness(receiver, "--json")

    assert (result.returncode, as_json.returncode, messages(result.stderr)) == (0, 0, "")
    assert result.stdout.splitlines()[0].startswith("Complete, 1 epoch:")
    assert "1 till not yet installed" in result.stdout
    assert "silent" not in result.stdout


@pytest.mark.process
async def test_command_does_not_call_an_empty_head_office_complete(
    receiver: Receiver,
) -> None:
    result = await completeness(receiver)

    assert result.stdout.splitlines()[0].startswith("No epochs known:")
    assert result.stdout.splitlines()[-1] == "1 till not yet installed."


@pytest.mark.process
async def test_command_prints_the_same_json_as_http(
    receiver: Receiver, other: SimulatedAgent
) -> None:
    await receiver.send(SimulatedAgent(), session(10, occurredAt="yesterday"))

    result = await completeness(receiver, "--json", "--store", "0042")

    assert result.returncode == 1, "the till is silent"
    over_http = await receiver.get("/v1/completeness?store=0042")
    # The receiver's clock stands still, the command's does not.
    later = ("asOf", "cannotSpeakFor")
    printed, members = json.loads(result.stdout), over_http.members()
    assert printed["cannotSpeakFor"]["count"] == 1
    assert {name for name in members if members[name] != printed[name]} == set(later)


@pytest.mark.process
@pytest.mark.parametrize("store", ["0099", "a b"])
async def test_command_exits_with_2_for_an_unknown_store(receiver: Receiver, store: str) -> None:
    result = await completeness(receiver, "--store", store)

    assert (result.returncode, "store" in result.stderr) == (2, True)


@pytest.mark.process
def test_command_exits_with_2_without_a_database(tmp_path: Path) -> None:
    result = hq("--config", str(write_config(tmp_path / "state")), "completeness")

    assert result.returncode == 2
    assert f"{tmp_path}/state/hq.db" in result.stderr
    assert not (tmp_path / "state").exists()
