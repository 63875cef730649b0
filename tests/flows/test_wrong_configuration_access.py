"""A wrong configuration that closes access: the last one that worked does not open it again."""

import sys

import pytest
from aiohttp import ClientSession

from agent.api.status.headlines import configuration
from agent.api.status.words import Words
from agent.languages.catalogue import english
from sync.runtime.start import RECHECK_SECONDS
from tests.support.agent.unit import Unit

pytestmark = pytest.mark.process
PAGE = "https://till.example"
GOOD = '[store]\nstore_id = "0042"\n[log]\nformat = "json"\n[api]\n'
OPEN = f'{GOOD}cors_origins = ["{PAGE}"]\n'
MISTYPED = "[sync]\nintervall_seconds = 5\n"
CLOSED = {
    "another setting is unknown": f"{GOOD}cors_origins = []\n{MISTYPED}",
    "the setting itself is mistyped": f"{GOOD}cors_orgins = []\n",
    "the file is not TOML": f'{GOOD}cors_origins = []\n[sync\nproxy = "http://\n',
    "a table stands twice": f"{GOOD}port = 0\n[api]\ncors_origins = []\n",
}
# Checks the configuration anew at once, instead of after seconds.
EAGER = (
    sys.executable,
    "-c",
    "import sync.runtime.start as s; s.RECHECK_SECONDS = 0.05; from agent.cli import main; main()",
)


async def _status_for_page(port: int, token: str = "") -> int:
    headers = {"Origin": PAGE} | ({"Authorization": f"Bearer {token}"} if token else {})
    url = f"http://127.0.0.1:{port}/agent/v1/status"
    async with ClientSession() as page, page.get(url, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize("wrong", CLOSED.values(), ids=CLOSED)
async def test_origin_that_the_wrong_file_removes_is_refused(unit: Unit, wrong: str) -> None:
    await unit.runs_once(OPEN)
    async with unit.running(wrong) as child:
        said = await child.wait_for_log("agent.configuration_rejected")
        assert await _status_for_page(unit.port) == 403
        assert (await unit.capture()).status == 200
        status = await unit.status()
    assert said["narrowed_to_it"] == "api.cors_origins"
    (alarm,) = configuration(status, Words(english()))
    assert "is in use without the access that the wrong one closes (api.cors_origins)" in alarm.text


async def test_origin_that_the_wrong_file_has_is_served(unit: Unit) -> None:
    await unit.runs_once(OPEN)
    async with unit.running(OPEN + MISTYPED) as child:
        said = await child.wait_for_log("agent.configuration_rejected")
        assert await _status_for_page(unit.port) == 200
    assert "narrowed_to_it" not in said


async def test_token_that_the_wrong_file_requires_is_required(unit: Unit) -> None:
    token = "0123456789abcdef" * 4
    (unit.config.parent / "token").write_text(token)
    await unit.runs_once(OPEN)
    async with unit.running(f'{OPEN}token_file = "token"\n{MISTYPED}') as child:
        await child.wait_for_log("agent.configuration_rejected")
        assert await _status_for_page(unit.port) == 401
        assert await _status_for_page(unit.port, token) == 200


async def test_fall_back_ends_when_a_missing_token_file_returns(unit: Unit) -> None:
    token, file = "0123456789abcdef" * 4, unit.config.parent / "token"
    await unit.runs_once(OPEN)
    wrong = f'{OPEN}token_file = "token"\n'
    async with unit.running(wrong, program=EAGER) as child:
        await child.wait_for_log("agent.configuration_rejected")
        assert (await unit.capture()).status == 200
        file.write_text(token)
        await child.wait_for_log("agent.configuration_right_again")
        assert await child.exit_code() == 1, "a supervisor starts it again"
    async with unit.running(wrong) as child:
        await child.ready()
        assert await _status_for_page(unit.port) == 401
        assert await _status_for_page(unit.port, token) == 200


def test_configuration_is_checked_anew_within_the_minute() -> None:
    assert RECHECK_SECONDS <= 60
