"""A damaged file with holes: head office and agent name exactly what is lost, until it is accepted.

Real tills, agent, receiver and command of head office.
"""

import asyncio
import subprocess
from pathlib import Path

import pytest

from agent.api.status.view import Level, Status
from agent.store.db.connect import DATABASE_FILE
from tests.support.agent.store import change, query
from tests.support.head_office.process import hq
from tests.support.patience import PATIENCE_SECONDS
from tests.support.shop.receivers import STORE, TILL, RestartableReceiver
from tests.support.shop.records import records_in
from tests.support.shop.shop import Shop, shop_at, until_there
from tests.support.shop.verdict import judge

pytestmark = [pytest.mark.slow, pytest.mark.process]

GAPS = """
SELECT first_sequence, last_sequence, acknowledged_by FROM gaps ORDER BY first_sequence
"""
OPEN = "SELECT first_sequence FROM gaps WHERE acknowledged_at IS NULL ORDER BY first_sequence"
# Answers, far apart: their sessions arrive without them.
HOLES = """
SELECT min(position), (SELECT max(position) FROM email_answer WHERE position < 29), epoch
FROM email_answer JOIN epoch WHERE position > 11
"""


async def test_only_what_salvage_did_not_find_is_lost_and_the_alarm_ends_when_it_is_accepted(
    tmp_path: Path,
) -> None:
    state, head_office = tmp_path / "state", tmp_path / "head-office"
    async with RestartableReceiver(head_office) as receiver:
        token = await receiver.enroll()
        async with shop_at(state, receiver.url, "batch", token_file=token) as shop:
            await shop.trade(5)
            await shop.delivered()
        await receiver.stop()
        async with shop_at(state, receiver.url, "batch", shop.ledger, token_file=token) as shop:
            await shop.trade(10)
        epoch, holes = damage(state)
        await receiver.start()

        async with shop_at(state, receiver.url, "batch", shop.ledger, token_file=token) as shop:
            await until_there(lambda: receiver.rows(OPEN), 2)
            await shop.until(waiting=0)
            alarms = alarms_of(await shop.status())
        gaps = receiver.rows(GAPS)
        missing = judge(shop.ledger, records_in(receiver.database)).lost
        for hole in holes:
            acknowledged = await asyncio.to_thread(acknowledge, head_office, epoch, hole)
            assert acknowledged.returncode == 0, acknowledged.stderr
        async with shop_at(state, receiver.url, "batch", shop.ledger, token_file=token) as shop:
            await until_accepted(shop)
            alarms_after = alarms_of(await shop.status())

    lost = [(first, last) for first, last, by in gaps if by is None]
    assert lost == [(hole, hole) for hole in holes]
    assert (gaps[0][0], gaps[-1][1]) == (11, 30)
    assert len(missing) == len(holes)
    assert [text.partition(" (")[0] for text in alarms] == ["2 captures were lost"]
    assert alarms_after == []


def damage(state: Path) -> tuple[str, list[int]]:
    """Remove two events, and the head of the file; return their epoch and numbers."""
    ((first, last, epoch),) = query(state, HOLES)
    holes = [int(str(first)), int(str(last))]
    change(state, f"DELETE FROM event WHERE position IN ({holes[0]}, {holes[1]})")  # noqa: S608 - the test's own values
    with (state / DATABASE_FILE).open("r+b") as file:
        file.write(b"\xff" * 100)
    return str(epoch), holes


def acknowledge(head_office: Path, epoch: str, first: int) -> subprocess.CompletedProcess[str]:
    """Accept a loss as a person at head office does."""
    name = (STORE, TILL, epoch, str(first))
    settings = {"LOYALTY_HQ__STORAGE__DIRECTORY": str(head_office)}
    return hq("gaps", "acknowledge", *name, "--reason", "the disk was damaged", **settings)


def alarms_of(members: dict[str, object]) -> list[str]:
    """Return the alarms of a status."""
    return [one.text for one in Status(members).headlines() if one.level is Level.ALARM]


async def until_accepted(shop: Shop) -> None:
    """Wait until the agent has heard that head office has accepted its loss."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            lost = (await shop.status())["lost"]
            assert isinstance(lost, list)
            if lost and lost[0]["acknowledgedAt"]:
                return
            await asyncio.sleep(0.05)
