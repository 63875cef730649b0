"""Retry and discard of dead letters: the admin token, and the user in the log."""

import getpass
import json
import logging
from pathlib import Path

import pytest

from agent.config.settings import ApiSettings
from agent.store.db.tables import STUCK_ATTEMPTS
from sync.delivery.outbox import EventResult
from sync.delivery.outcomes import Deferred
from tests.agent.api.conftest import StartAgent
from tests.support.agent.in_process import Agent
from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import session
from tests.support.log_fields import fields_of

ADMIN, ORDINARY = "adm1n~Token~0123456789", "s3cret~Token"
ACTIONS = ("retry", "discard")


@pytest.fixture
async def letter(start_agent: StartAgent, tmp_path: Path) -> str:
    """Leave a dead letter in the store that the agent opens later; return its path."""
    async with outbox_on(tmp_path / "state") as rig:
        await rig.capture(session("one"))
        (event,) = (await rig.window()).events
        await rig.refuse(event)
        epoch = (await rig.window()).epoch
    return f"/agent/v1/dead-letters/{epoch}/1"


@pytest.fixture
async def stuck(start_agent: StartAgent, tmp_path: Path) -> str:
    """Leave a stuck event in the store that the agent opens later; return its path."""
    async with outbox_on(tmp_path / "state") as rig:
        await rig.capture(session("one"))
        window = await rig.window()
        (event,) = window.events
        for _ in range(STUCK_ATTEMPTS):
            failed = Deferred("NO_VERDICT", "answered 500", 500)
            await rig.outbox.settle(window, [EventResult(event, failed)])
    return f"/agent/v1/dead-letters/{window.epoch}/1"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def token_file(directory: Path, name: str, token: str) -> Path:
    file = directory / name
    file.write_text(f"{token}\n")
    return file


@pytest.fixture
async def guarded(letter: str, start_agent: StartAgent, tmp_path: Path) -> Agent:
    """An agent whose dead letters need the admin token."""
    admin = token_file(tmp_path, "admin", ADMIN)
    return await start_agent(api=ApiSettings(port=0, admin_token_file=admin))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "headers", [{}, bearer("guess"), bearer(ORDINARY), {"Authorization": ADMIN}]
)
async def test_dead_letter_stays_without_the_admin_token(
    guarded: Agent, letter: str, action: str, headers: dict[str, str]
) -> None:
    refused = await guarded.request("POST", f"{letter}/{action}", headers=headers)

    assert refused.status == 401
    assert refused.header("WWW-Authenticate") == "Bearer"
    assert "admin_token_file" in str(refused.members()["errorMessage"])
    assert (await guarded.get(letter)).status == 200


@pytest.mark.parametrize("action", ACTIONS)
async def test_admin_token_is_accepted(guarded: Agent, letter: str, action: str) -> None:
    done = await guarded.request("POST", f"{letter}/{action}", headers=bearer(ADMIN))

    assert done.status == 200
    assert (await guarded.get(letter)).status == (404 if action == "discard" else 200)


async def test_ordinary_token_is_not_enough_and_the_admin_token_is_enough_for_all(
    letter: str, start_agent: StartAgent, tmp_path: Path
) -> None:
    admin, ordinary = (token_file(tmp_path, t, t) for t in (ADMIN, ORDINARY))
    agent = await start_agent(api=ApiSettings(port=0, token_file=ordinary, admin_token_file=admin))

    refused = await agent.request("POST", f"{letter}/discard", headers=bearer(ORDINARY))
    shown = [(await agent.get(letter, bearer(token))).status for token in (ADMIN, ORDINARY)]
    nobody = await agent.get(letter)
    done = await agent.request("POST", f"{letter}/discard", headers=bearer(ADMIN))

    assert (refused.status, shown, nobody.status, done.status) == (403, [200, 200], 401, 200)


@pytest.mark.parametrize("action", ACTIONS)
async def test_log_names_the_user_who_retried_or_discarded(
    letter: str, start_agent: StartAgent, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await start_agent()
    with caplog.at_level(logging.INFO):
        done = await agent.request("POST", f"{letter}/{action}")

    assert done.status == 200
    event = {"retry": "dead_letter.requeued", "discard": "dead_letter.discarded"}[action]
    (line,) = fields_of(caplog, event)
    assert line["peer"] == "127.0.0.1"
    assert line["user"] == getpass.getuser()
    assert line["access"] == "none"
    assert line["receipt"] == letter.removeprefix("/agent/v1/dead-letters/")


async def test_stuck_event_is_listed_as_such_and_can_be_set_aside(
    stuck: str, start_agent: StartAgent, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await start_agent()
    (listed,) = json.loads((await agent.get("/agent/v1/dead-letters")).body)
    status = (await agent.get("/agent/v1/status")).members()
    done = await agent.request("POST", f"{stuck}/set-aside")
    again = await agent.request("POST", f"{stuck}/set-aside")
    after = (await agent.get("/agent/v1/status")).members()

    assert (listed["state"], listed["errorCode"], listed["httpStatus"]) == (
        "stuck",
        "NO_VERDICT",
        500,
    )
    assert [status[name] for name in ("waiting", "stuck", "deadLetters")] == [1, 1, 0]
    assert (done.status, done.members()["state"], again.status) == (200, "refused", 404)
    assert [after[name] for name in ("waiting", "stuck", "deadLetters")] == [0, 0, 1]
    assert [fields["code"] for fields in fields_of(caplog, "dead_letter.set_aside")] == [
        "NO_VERDICT"
    ]


async def test_stuck_event_is_set_aside_with_the_admin_token_only(
    stuck: str, start_agent: StartAgent, tmp_path: Path
) -> None:
    admin = token_file(tmp_path, "admin", ADMIN)
    agent = await start_agent(api=ApiSettings(port=0, admin_token_file=admin))
    statuses = [
        (await agent.request("POST", f"{stuck}/set-aside", headers=headers)).status
        for headers in (bearer("guess"), bearer(ADMIN))
    ]
    assert statuses == [401, 200]
