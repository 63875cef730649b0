"""A till that is a web page, in a real Chromium: CORS, and Chrome's local network access.

Chromium takes the page's server for one on the internet or on the machine, as it is told.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from tests.support.agent.in_process import SESSIONS, Agent, agent_under_test, settings_in
from tests.support.browser import running_browser
from tests.support.certificates import make_certificate

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# A session start, and an error of a call that needs a preflight request.
SELL = f"""async (agent) => {{
    try {{
        const body = JSON.stringify({{ correlationId: crypto.randomUUID() }});
        const signal = AbortSignal.timeout(5000);
        const sold = await fetch(agent + "{SESSIONS}", {{ method: "POST", body, signal }});
        const lost = await fetch(agent + "/nothing", {{ method: "PUT", body, signal }});
        return [sold.status, sold.headers.get("Loyalty-Receipt"),
            lost.status, lost.headers.get("Loyalty-Reason")];
    }} catch (error) {{ return [String(error)]; }}
}}"""
REFUSED = ["TypeError: Failed to fetch"]


@dataclass(frozen=True)
class Page:
    """A till's page, by its origin."""

    origin: str


@pytest.fixture
async def page(aiohttp_server: AiohttpServer, tmp_path: Path) -> Page:
    async def show(_: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html><title>till</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    server = await aiohttp_server(app, ssl=make_certificate(tmp_path / "tls").served())
    return Page(f"https://127.0.0.1:{server.port}")


@asynccontextmanager
async def till_agent(directory: Path, page: Page) -> AsyncIterator[Agent]:
    api = {"port": 0, "cors_origins": (page.origin,)}
    async with agent_under_test(settings_in(directory / "state", api=api)) as agent:
        yield agent


async def sell(page: Page, agent: Agent, space: str, *, host: str, permit: bool) -> list[object]:
    """Sell on the page, whose server is in this address space; return what the page read."""
    port = page.origin.rpartition(":")[2]
    overrides = f"--ip-address-space-overrides=127.0.0.1:{port}={space}"
    async with running_browser(overrides) as browser:
        context = await browser.new_context(ignore_https_errors=True)
        if permit:
            await context.grant_permissions(["local-network-access"])
        tab = await context.new_page()
        await tab.goto(page.origin)
        found: list[Any] = await tab.evaluate(SELL, f"http://{host}:{agent.address.port}")
        return found


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_page_of_the_machine_reads_receipt_and_reason(
    page: Page, tmp_path: Path, host: str
) -> None:
    async with till_agent(tmp_path, page) as agent:
        status, receipt, *error = await sell(page, agent, "loopback", host=host, permit=False)

    assert (status, *error) == (200, 404, "no endpoint /nothing")
    assert re.fullmatch(r"[0-9a-f-]{36}/1", str(receipt))


async def test_page_of_the_internet_needs_the_permission_and_then_sells(
    page: Page, tmp_path: Path
) -> None:
    async with till_agent(tmp_path, page) as agent:
        denied = await sell(page, agent, "public", host="127.0.0.1", permit=False)
        recorded = agent.bodies()
        granted = await sell(page, agent, "public", host="127.0.0.1", permit=True)

    assert (denied, recorded) == (REFUSED, [])
    assert (granted[0], granted[2:]) == (200, [404, "no endpoint /nothing"])


async def test_page_that_is_not_in_cors_origins_records_nothing(page: Page, tmp_path: Path) -> None:
    async with till_agent(tmp_path, Page("https://pos.example")) as agent:
        found = await sell(page, agent, "loopback", host="127.0.0.1", permit=True)

        assert found == REFUSED
        assert agent.bodies() == []
