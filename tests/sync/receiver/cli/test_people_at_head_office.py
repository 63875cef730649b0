"""`loyalty-hq revoke`, `retire`, `gaps` and `audit` beside a running head office."""

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from sync.receiver.cli import app
from sync.receiver.reports.tills import Reference
from tests.support.head_office.messages import AT, EPOCH, SimulatedAgent, session, sessions
from tests.support.head_office.process import hq_on_terminal, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import messages
from tests.support.terminal import COLUMNS

OTHER = SimulatedAgent(till_id="till-2")
REASON = "the machine burnt down"


async def hq(receiver: Receiver, *arguments: str) -> Result:
    config = str(write_config(receiver.directory))
    return await asyncio.to_thread(CliRunner().invoke, app, ["--config", config, *arguments])


async def lose_three_events(receiver: Receiver, till: SimulatedAgent) -> None:
    """Record a gap from 1 to 3: the till had these numbers, and no longer has them."""
    await receiver.heartbeat(till, lastSequence=3)
    assert (await receiver.send(till, *sessions(4, 5), baseSequence=4)).status == 200


def actions(listed: Result) -> list[tuple[str, str, str]]:
    """Return action, store and till of each entry that `audit --json` printed."""
    entries = json.loads(listed.stdout)["entries"]
    return [(entry["action"], entry["storeId"], entry["tillId"]) for entry in entries]


async def test_revoked_till_is_refused_at_its_next_request(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    before = await receiver.heartbeat(till)

    revoked = await hq(receiver, "revoke", "0042", "till-1")

    after = await receiver.heartbeat(till), await receiver.send(till, session(1))
    assert (revoked.exit_code, revoked.stdout) == (0, "Revoked 1 token of 0042/till-1.\n")
    assert [before.status, *(answer.status for answer in after)] == [200, 401, 401]


async def test_revoking_a_till_without_a_token_exits_with_1(receiver: Receiver) -> None:
    await hq(receiver, "revoke", "0042", "till-1")
    revoked = await hq(receiver, "revoke", "0042", "till-1")

    assert (revoked.exit_code, revoked.stdout) == (1, "")
    assert "0042/till-1 has no valid token" in revoked.stderr


async def test_enrolled_again_the_revoked_till_delivers(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await hq(receiver, "revoke", "0042", "till-1")

    enrolled = await hq(receiver, "enroll", "0042", "till-1")

    receiver.tokens["0042", "till-1"] = enrolled.stdout.strip()
    assert (await receiver.send(till, session(1))).status == 200


async def test_retired_till_is_refused_and_not_listed(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.enroll(OTHER)
    await receiver.send(till, session(1))
    await receiver.heartbeat(till, lastSequence=4)

    retired = await hq(receiver, "retire", "0042", "till-1")

    listed = await hq(receiver, "stores")
    assert (retired.exit_code, retired.stdout) == (0, "Retired 0042/till-1; revoked 1 token.\n")
    assert "0042/till-1 announced 3 events that did not arrive" in retired.stderr
    assert (await receiver.heartbeat(till)).status == 401
    assert "till-1" not in listed.stdout
    assert "1 till in 1 store" in listed.stdout


async def test_retired_till_with_an_open_join_code_says_that_the_code_is_revoked(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.receiver.cli.join_codes.issue.find_url_problem", lambda *_: "")
    for till_id in ("till-1", "till-2"):
        await hq(receiver, "enroll", "0042", till_id, "--url", "https://hq.example.com")

    retired = [await hq(receiver, "retire", "0042", one) for one in ("till-1", "till-2")]

    assert [one.stdout for one in retired] == [
        "Retired 0042/till-1; revoked 1 token and 1 join code.\n",
        "Retired 0042/till-2; revoked 0 tokens and 1 join code.\n",
    ]


@pytest.mark.parametrize("arguments", [["0042", "till-9"], ["0049", "--yes"]])
async def test_unknown_till_or_store_cannot_be_retired(
    receiver: Receiver, arguments: list[str]
) -> None:
    retired = await hq(receiver, "retire", *arguments)

    assert (retired.exit_code, retired.stdout) == (2, "")
    assert "is not known: nothing was changed" in retired.stderr


async def test_what_was_retired_is_printed_as_json(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.heartbeat(till, lastSequence=3)

    retired = await hq(receiver, "retire", "0042", "--yes", "--json")
    again = await hq(receiver, "retire", "0042", "--yes", "--json")

    (entry,) = json.loads(retired.stdout)["retired"]
    assert entry == {
        "storeId": "0042",
        "tillId": "till-1",
        "tokensRevoked": 1,
        "joinCodesRevoked": 0,
        "wasRetired": False,
        "outstanding": 3,
    }
    assert json.loads(again.stdout) == {"retired": []}


async def test_whole_store_is_not_retired_by_a_forgotten_argument(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    slip = await hq(receiver, "retire", "0042")
    still = await receiver.heartbeat(till)

    meant = await hq(receiver, "retire", "0042", "--yes")

    assert (slip.exit_code, still.status, meant.exit_code) == (2, 200, 0)
    assert (await receiver.heartbeat(till)).status == 401


async def test_acknowledged_gap_makes_completeness_exit_with_0(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_receiver = Reference(AT, "1.0")  # whose clock stands still: the till is not silent
    command = "sync.receiver.cli.reporting.completeness"
    monkeypatch.setattr(f"{command}.reference_now", lambda: of_receiver)
    await lose_three_events(receiver, till)
    before = await hq(receiver, "completeness"), await hq(receiver, "gaps", "list")

    accepted = await hq(
        receiver, "gaps", "acknowledge", "0042", "till-1", EPOCH, "1", "--reason", REASON
    )

    after = await hq(receiver, "completeness"), await hq(receiver, "gaps", "list", "--json")
    assert [result.exit_code for result in (*before, accepted, *after)] == [1, 1, 0, 0, 0]
    assert accepted.stdout.startswith("3 events acknowledged as lost by ")
    assert "3 acknowledged as lost" in after[0].stdout
    (gap,) = json.loads(after[1].stdout)["gaps"]
    assert (gap["first"], gap["last"], gap["acknowledgedReason"]) == (1, 3, REASON)


@pytest.mark.parametrize(("first", "reason", "code"), [("2", REASON, 1), ("1", " ", 2)])
async def test_wrong_acknowledgement_changes_nothing(
    receiver: Receiver, till: SimulatedAgent, first: str, reason: str, code: int
) -> None:
    await lose_three_events(receiver, till)
    name = ("0042", "till-1", EPOCH, first)

    accepted = await hq(receiver, "gaps", "acknowledge", *name, "--reason", reason)

    assert accepted.exit_code == code
    assert (await hq(receiver, "completeness")).exit_code == 1


async def test_audit_lists_what_people_did(receiver: Receiver, till: SimulatedAgent) -> None:
    await lose_three_events(receiver, till)
    commands = (
        ["enroll", "0043", "till-1"],
        ["export", "sessions", "--store", "0042", "--output", str(receiver.directory / "out.csv")],
        ["gaps", "acknowledge", "0042", "till-1", EPOCH, "1", "--reason", REASON],
        ["forget", "guest@example.com"],
        ["revoke", "0043", "till-1"],
        ["retire", "0042", "till-1"],
    )
    for command in commands:
        assert (await hq(receiver, *command)).exit_code == 0

    listed = await hq(receiver, "audit", "--json")

    # The enrolment of the fixture has a time of its own.
    assert [one for one in actions(listed) if one != ("enroll", "0042", "till-1")] == [
        ("enroll", "0043", "till-1"),
        ("export", "0042", ""),
        ("acknowledge", "0042", "till-1"),
        ("forget", "", ""),
        ("revoke", "0043", "till-1"),
        ("retire", "0042", "till-1"),
    ]
    assert "guest@example.com" not in listed.stdout


async def test_audit_can_be_filtered(receiver: Receiver) -> None:
    for command in (["enroll", "0043", "till-1"], ["revoke", "0043", "till-1"]):
        assert (await hq(receiver, *command)).exit_code == 0
    here = ("enroll", "0042", "till-1")
    there = [("enroll", "0043", "till-1"), ("revoke", "0043", "till-1")]

    found = [
        sorted(actions(await hq(receiver, "audit", "--json", *options)))
        for options in (
            ["--from", "9999-01-01"],
            ["--to", "9999-01-01"],
            ["--action", "revoke"],
            ["--store", "0042"],
        )
    ]
    assert found == [[], sorted([here, *there]), there[1:], [here]]


async def test_empty_list_is_a_success_and_says_so(receiver: Receiver) -> None:
    listed = await hq(receiver, "audit", "--from", "9999-01-01")

    assert (listed.exit_code, listed.stdout) == (0, "")
    assert messages(listed.stderr) == "loyalty-hq: no entries\n"


async def test_audit_in_a_pipe_is_one_line_an_entry(receiver: Receiver) -> None:
    listed = await hq(receiver, "audit")

    heading, *lines = listed.stdout.splitlines()
    assert heading.split("\t") == [
        "at",
        "action",
        "actor",
        "origin",
        "storeId",
        "tillId",
        "detail",
    ]
    assert [line.split("\t")[:4] for line in lines] == [
        ["2026-03-04T05:06:07.000Z", "enroll", "tester", "test"]
    ]


@pytest.mark.process
@pytest.mark.parametrize("command", [["audit"], ["gaps", "list"]])
async def test_listing_fits_a_terminal(
    receiver: Receiver, till: SimulatedAgent, command: list[str]
) -> None:
    await lose_three_events(receiver, till)
    name = ("0042", "till-1", EPOCH, "1")
    await hq(receiver, "gaps", "acknowledge", *name, "--reason", REASON * 10)

    config = str(write_config(receiver.directory))
    shown = await asyncio.to_thread(hq_on_terminal, "--config", config, *command)

    assert "burnt" in " ".join(shown)
    assert [line for line in shown if len(line) > COLUMNS] == []
