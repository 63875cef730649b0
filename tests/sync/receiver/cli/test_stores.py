"""`loyalty-hq stores`: every till with its state, and the sums."""

import asyncio

import pytest

from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.process import hq, hq_on_terminal, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.terminal import COLUMNS

pytestmark = pytest.mark.process


async def test_stores_lists_every_till_with_its_state(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    """All tills are silent: the receiver's clock stands still, the command's does not."""
    await receiver.enroll(SimulatedAgent(store_id="0043"))
    await receiver.send(till, session(1))
    await receiver.heartbeat(till, lastSequence=3, outstanding=2, deadLetters=1, agentVersion="9.9")

    config = str(write_config(receiver.directory))
    listed = await asyncio.to_thread(hq, "--config", config, "stores")

    assert (listed.returncode, listed.stderr) == (0, "")
    heading, *tills, sums = listed.stdout.splitlines()
    assert heading.split() == ["STORE", "TILL", "STATE", "SEEN", "WAITING", "REJECTED", "VERSION"]
    assert [line.split() for line in tills] == [
        ["0042", "till-1", "silent", "2026-03-04", "05:06", "2", "1", "9.9"],
        ["0043", "till-1", "silent", "never", "0", "0", "-"],
    ]
    assert sums == "2 tills in 2 stores: 2 silent."


async def test_output_fits_a_terminal(receiver: Receiver, till: SimulatedAgent) -> None:
    await receiver.send(till, session(1))
    await receiver.heartbeat(
        till, lastSequence=3, outstanding=1_234_567, deadLetters=12_345, agentVersion="10.11.12"
    )

    config = str(write_config(receiver.directory))
    shown = await asyncio.to_thread(hq_on_terminal, "--config", config, "stores")

    assert [len(line) for line in shown if len(line) > COLUMNS] == []
