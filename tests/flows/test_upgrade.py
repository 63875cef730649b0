"""Files written by version 0.1.0 open, migrate, and go on."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.config.central import CentralSettings
from agent.config.settings import StoreSettings
from tests.support.agent.in_process import Agent, agent_under_test, settings_in, state_path
from tests.support.shop.receivers import RestartableReceiver
from tests.support.shop.shop import QUICK, Shop
from tests.support.till.ledger import TillLedger
from tests.support.version_0_1_0 import AGENT, HEAD_OFFICE, unpack

pytestmark = pytest.mark.slow

EPOCH = "f0b6a6e7-9d16-4a78-8bdc-340e2782d54b"


@pytest.fixture
def head_office(tmp_path: Path) -> Path:
    return unpack(HEAD_OFFICE, tmp_path / "hq")


@pytest.fixture
def till(tmp_path: Path) -> Path:
    return unpack(AGENT, tmp_path / "till")


@asynccontextmanager
async def upgraded(till: Path, url: str, token_file: Path) -> AsyncIterator[Agent]:
    auth = {"kind": "bearer", "token_file": token_file}
    settings = settings_in(
        till,
        store=StoreSettings(store_id="0042", till_id="till-1"),
        central=CentralSettings.model_validate({"url": url, "protocol": "batch", "auth": auth}),
        sync=QUICK,
    )
    async with agent_under_test(settings) as agent:
        yield agent


async def test_upgraded_agent_still_has_waiting_captures_and_dead_letters(till: Path) -> None:
    async with agent_under_test(settings_in(till)) as agent:
        status = (await agent.get("/agent/v1/status")).members()
        assert (status["epoch"], status["lastSequence"], status["waiting"]) == (EPOCH, 11, 4)
        letters = json.loads((await agent.get("/agent/v1/dead-letters")).body)
        assert [letter["sequence"] for letter in letters] == [2, 7]
        waiting = (await agent.get(state_path("a-6"))).members()
        assert (waiting["state"], waiting["sequence"]) == ("waiting", 8)


async def test_upgraded_agent_recognises_a_repeat_of_a_capture_from_before(till: Path) -> None:
    async with agent_under_test(settings_in(till)) as agent:
        repeat = await agent.start_session(
            {"correlationId": "a-6", "channel": "STORE", "locale": "fr-CA"}
        )
        assert (repeat.status, repeat.receipt) == (200, f"{EPOCH}/8")


async def test_upgraded_head_office_takes_the_rest_of_an_upgraded_agent(
    head_office: Path, till: Path
) -> None:
    token_file = head_office / "till-1.token"
    async with (
        RestartableReceiver(head_office) as receiver,
        upgraded(till, receiver.url, token_file) as agent,
    ):
        await Shop(agent, TillLedger()).delivered()
        query = "SELECT sequence FROM sessions WHERE epoch = '{}' ORDER BY sequence"
        assert receiver.rows(query.format(EPOCH)) == [(1,), (3,), (4,), (5,), (8,), (9,), (10,)]
        answers = "SELECT sequence, email_address FROM email_answers WHERE till_id = 'till-1'"
        assert receiver.rows(answers + " ORDER BY sequence") == [
            (6, "one@example.com"),
            (11, "six@example.com"),
        ]
