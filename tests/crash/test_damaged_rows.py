"""The real agent on a database with a damaged row: it serves tills and neither ends nor loops."""

import asyncio
import json
import shutil
from pathlib import Path

import aiohttp
import pytest

from tests.support.agent.damaged_rows import Kind, kinds, plant, prepare
from tests.support.agent.in_process import SESSIONS, email_path
from tests.support.agent.process import agent_process

pytestmark = [pytest.mark.campaign, pytest.mark.process]
SECONDS = 2.0
SAMPLE = 6
ANSWER = {"status": "declined"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the files of a stopped agent; copy them before use."""
    return asyncio.run(prepare(tmp_path_factory.mktemp("prepared"))).directory


def sample() -> list[Kind]:
    """Return the named kinds, and every sixth of the others."""
    every = kinds()
    named = [kind for kind in every if "." not in kind.name]
    return [*named, *every[::SAMPLE]]


@pytest.mark.parametrize("kind", sample(), ids=str)
async def test_agent_on_a_damaged_row_answers_tills_within_two_seconds(
    prepared: Path, tmp_path: Path, kind: Kind
) -> None:
    directory = Path(shutil.copytree(prepared, tmp_path / "state"))
    plant(directory, kind)
    async with agent_process(directory) as running:
        url = f"http://127.0.0.1:{await running.ready()}"
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with aiohttp.ClientSession(url, timeout=timeout) as till:
            for name in ("new", "five", "new"):
                body = json.dumps({"correlationId": name}).encode()
                async with till.post(SESSIONS, data=body) as response:
                    assert response.status == 200, await response.text()
            for name in ("new", "five", "five", "three"):
                async with till.put(email_path(name), json=ANSWER) as response:
                    assert response.status in {200, 404}, await response.text()
                    assert "message" in await response.text() or response.status == 404
            async with till.get("/agent/v1/status") as response:
                assert (await response.json())["storage"]["setAside"] == []
