"""`loyalty-hq epochs` and `completeness` after a machine died and was replaced."""

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from sync.receiver.cli import app
from sync.receiver.reports.tills import Reference
from tests.support.head_office.messages import AT, EPOCH, SimulatedAgent, sessions
from tests.support.head_office.process import write_config
from tests.support.head_office.receiver import Receiver

REPLACEMENT = SimulatedAgent(epoch="epoch-of-the-replacement")
REASON = "its disk burnt"


async def hq(receiver: Receiver, *arguments: str) -> Result:
    config = str(write_config(receiver.directory))
    return await asyncio.to_thread(CliRunner().invoke, app, ["--config", config, *arguments])


async def acknowledge(receiver: Receiver, epoch: str = EPOCH, reason: str = REASON) -> Result:
    name = ("0042", "till-1", epoch)
    return await hq(receiver, "epochs", "acknowledge", *name, "--reason", reason)


@pytest.fixture
async def replaced(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> Receiver:
    """Three captures arrived, two more were announced; then another machine took its place.

    The command has the receiver's time, which stands still: no till is silent.
    """
    now = Reference(AT, "1.0")
    monkeypatch.setattr("sync.receiver.cli.reporting.completeness.reference_now", lambda: now)
    await receiver.send(till, *sessions(1, 3))
    await receiver.heartbeat(till, lastSequence=5)
    await receiver.heartbeat(REPLACEMENT)
    return receiver


async def test_replaced_machine_without_a_last_word_makes_completeness_exit_with_1(
    replaced: Receiver,
) -> None:
    await replaced.send(SimulatedAgent(), *sessions(4, 5))

    report = await hq(replaced, "completeness")
    listed = await hq(replaced, "epochs", "list", "--store", "0042")

    assert (report.exit_code, listed.exit_code) == (1, 1)
    assert "unconfirmed" in report.stdout
    assert "5 captures up to " in report.stdout
    assert "more may exist" in report.stdout
    assert "1 ended epoch not confirmed" in report.stdout
    assert EPOCH in listed.stdout


async def test_acknowledged_end_makes_completeness_exit_with_0(replaced: Receiver) -> None:
    accepted = await acknowledge(replaced)

    report, listed = (
        await hq(replaced, "completeness"),
        await hq(replaced, "epochs", "list", "--json"),
    )
    document = (await replaced.get("/v1/completeness")).members()
    assert [one.exit_code for one in (accepted, report, listed)] == [0, 0, 0]
    assert "2 outstanding events" in accepted.stdout
    assert "2 acknowledged as lost" in report.stdout
    assert document["complete"] is True
    (epoch,) = json.loads(listed.stdout)["epochs"]
    assert (epoch["ended"], epoch["captures"], epoch["outstanding"]) == ("acknowledged", 5, 0)
    assert (epoch["acknowledgedReason"], epoch["acknowledgedBy"] != "") == (REASON, True)


async def test_events_that_arrive_after_their_loss_was_acknowledged_are_stored(
    replaced: Receiver,
) -> None:
    await acknowledge(replaced)

    await replaced.send(SimulatedAgent(), *sessions(4, 6))

    report = await hq(replaced, "completeness")
    assert (report.exit_code, "as lost" in report.stdout) == (0, False)


@pytest.mark.parametrize(
    ("epoch", "reason", "code"),
    [(REPLACEMENT.epoch, REASON, 1), ("of-nobody", REASON, 1), (EPOCH, " ", 2)],
)
async def test_wrong_acknowledgement_changes_nothing(
    replaced: Receiver, epoch: str, reason: str, code: int
) -> None:
    accepted = await acknowledge(replaced, epoch, reason)

    assert accepted.exit_code == code
    assert (await hq(replaced, "completeness")).exit_code == 1


async def test_acknowledgement_is_kept_with_who_gave_it(replaced: Receiver) -> None:
    first = await acknowledge(replaced)

    again = await acknowledge(replaced, reason="another reason")

    entries = json.loads((await hq(replaced, "audit", "--json")).stdout)["entries"]
    assert [one["action"] for one in entries if one["tillId"] == "till-1"] == [
        "enroll",
        "acknowledge-epoch",
    ]
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert REASON in again.stdout


async def test_machine_that_is_used_again_and_replaced_needs_another_acknowledgement(
    replaced: Receiver,
) -> None:
    """Whoever accepted the first end did not know of the second."""
    await acknowledge(replaced)
    await replaced.heartbeat(SimulatedAgent(), lastSequence=5)

    await replaced.heartbeat(SimulatedAgent(epoch="epoch-of-a-third-machine"))

    assert (await hq(replaced, "epochs", "list")).exit_code == 1


async def test_retired_till_has_no_unconfirmed_epochs(replaced: Receiver) -> None:
    await hq(replaced, "retire", "0042", "till-1")

    assert (await hq(replaced, "completeness")).exit_code == 0
    assert (await hq(replaced, "epochs", "list")).exit_code == 0
