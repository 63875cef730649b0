"""`loyalty-hq find`: events with their way; an address never leaves the input."""

import asyncio
import json
from subprocess import CompletedProcess

import pytest

from tests.support.head_office.messages import EPOCH, SimulatedAgent, answer, session
from tests.support.head_office.process import HQ, hq, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import messages

pytestmark = pytest.mark.process
GUEST = "guest@example.com"


async def find(receiver: Receiver, *arguments: str, said: str = "") -> CompletedProcess[str]:
    config = str(write_config(receiver.directory))
    command = f'printf "%s\\n" "{said}" | exec "$@"'
    shell = ("sh", "-c", command, "sh", *HQ)
    return await asyncio.to_thread(hq, "--config", config, "find", *arguments, program=shell)


async def test_event_is_found_by_words_of_a_store_and_a_local_time(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1, "one"))

    zone = ("--time-zone", "Europe/Zurich")
    found = await find(receiver, "0042", "2026-03-04", "05:50", *zone, "--json")
    other = await find(receiver, "0042", "2026-03-04", "05:50", "--time-zone", "UTC", "--json")

    document = json.loads(found.stdout)
    assert "body" not in document["events"][0]
    assert [one["correlationId"] for one in document["events"]] == ["one"]
    assert document["asOf"]
    assert (found.returncode, other.returncode) == (0, 1)
    assert json.loads(other.stdout)["events"] == []


async def test_receipt_that_is_not_here_yet_says_so(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.heartbeat(till, lastSequence=3)

    found = await find(receiver, f"{EPOCH}/2")

    assert found.returncode == 0
    assert "not-here-yet" in found.stdout
    assert "0042/till-1 (silent, heard 2026-03-04T05:06:07.000Z)" in found.stderr


async def test_nothing_found_is_exit_code_1_and_names_the_tills_that_may_have_it(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.heartbeat(till)

    found = await find(receiver, "no-such-id")

    assert (found.returncode, found.stdout) == (1, "")
    assert "nothing is held of it" in found.stderr
    assert "0042/till-1 (silent" in found.stderr


async def test_access_request_reads_the_address_from_standard_input_and_is_audited_without_it(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1, "one"), answer(2, "one"))

    found = await find(receiver, "--email", "--json", said=GUEST)
    config = str(write_config(receiver.directory))
    audit = await asyncio.to_thread(hq, "--config", config, "audit", "--action", "find", "--json")

    assert [one["type"] for one in json.loads(found.stdout)["events"]] == [
        "email.answered",
        "session.started",
    ]
    content = {one["type"]: one["body"] for one in json.loads(found.stdout)["events"]}
    assert content == {
        "email.answered": {"status": "accepted", "emailAddress": "[this address]"},
        "session.started": {"correlationId": "one", "channel": "pos"},
    }
    [entry] = json.loads(audit.stdout)["entries"]
    assert entry["detail"] == {"by": "address"}
    assert GUEST not in found.stdout + found.stderr + audit.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (GUEST,),
        (),
        ("--email", "one"),
        ("one", "--store", "4711"),
        ("4711", "2026-03-04", "14:32"),
        ("0042", "2026-03-04", "14:32", "--time-zone", "Nowhere"),
    ],
)
async def test_wrong_use_is_exit_code_2_and_repeats_no_address(
    receiver: Receiver, till: SimulatedAgent, arguments: tuple[str, ...]
) -> None:
    found = await find(receiver, *arguments)

    assert (found.returncode, found.stdout) == (2, "")
    assert GUEST not in messages(found.stderr)
