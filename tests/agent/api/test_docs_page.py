"""`GET /docs`: the OpenAPI document in a viewer of the package, under a strict policy."""

import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.agent.in_process import Agent, agent_in_a_thread, settings_in
from tests.support.browser import open_tab, running_browser

SERIOUS = {"serious", "critical"}
STATIC = files("agent.api.openapi").joinpath("static")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


async def test_page_and_its_files_come_from_the_agent_alone(shared_agent: Agent) -> None:
    page = await shared_agent.get("/docs")
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    files_of_page = [source for source in sources if source.startswith("/docs/")]

    answers = [await shared_agent.get(source) for source in files_of_page]

    assert page.status == 200
    assert {source for source in sources if not source.startswith("/docs/")} == {
        "data:,",
        "/openapi.json",
    }
    assert [answer.status for answer in answers] == [200] * 4
    types = [(answer.header("Content-Type") or "").partition(";")[0] for answer in answers]
    assert types == ["text/css", "text/css", "text/javascript", "text/javascript"]


async def test_policy_allows_nothing_inline_and_no_other_origin(shared_agent: Agent) -> None:
    policy = (await shared_agent.get("/docs")).header("Content-Security-Policy") or ""

    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


@pytest.mark.parametrize("name", ["x.js", "..%2fviewer.py", "swagger-ui-LICENSE.txt", ""])
async def test_only_the_files_of_the_page_are_served(shared_agent: Agent, name: str) -> None:
    assert (await shared_agent.get(f"/docs/{name}")).status == 404


def test_licences_of_the_viewer_are_beside_it() -> None:
    names = {file.name for file in STATIC.iterdir()}

    assert {"swagger-ui-LICENSE.txt", "swagger-ui-bundle.js.LICENSE.txt"} <= names
    assert "Apache License" in STATIC.joinpath("swagger-ui-LICENSE.txt").read_text("utf-8")


@pytest.mark.slow
async def test_browser_shows_the_calls_and_axe_finds_nothing_serious(
    browser: Browser, tmp_path: Path
) -> None:
    asked: list[str] = []
    with agent_in_a_thread(settings_in(tmp_path)) as agent:
        origin = f"http://127.0.0.1:{agent.port}"
        async with open_tab(browser, "about:blank") as tab:
            tab.page.on("request", lambda request: asked.append(request.url))
            await tab.page.goto(f"{origin}/docs")
            await tab.page.get_by_text("/client/users/anonymous/sessions").first.click()
            await tab.page.get_by_text("Loyalty-Reason").first.wait_for()
            serious = await tab.violations(SERIOUS)
            trials = await tab.page.get_by_text("Try it out").count()

    assert serious == []
    assert tab.complaints == []
    assert {url.startswith(origin + "/") for url in asked if not url.startswith("data:")} == {True}
    assert trials == 0
