"""The status page in a real browser: live, accessible, in both languages, with retry."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import Browser, Page

from agent.api.page import activity
from agent.config.settings import ApiSettings, StoreSettings
from tests.support.agent.in_process import agent_in_a_thread, agent_under_test, settings_in
from tests.support.browser import open_tab, running_browser
from tests.support.central import ScriptedCentral
from tests.support.shop.shop import QUICK, Shop
from tests.support.till.ledger import TillLedger

SERIOUS = {"serious", "critical"}
ADMIN = "the rights of an administrator"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


def start_session(origin: str, correlation_id: str) -> None:
    body = json.dumps({"correlationId": correlation_id}).encode()
    headers = {"Content-Type": "application/json"}
    url = f"{origin}/client/users/anonymous/sessions"
    urlopen(Request(url, body, headers), timeout=10).close()  # noqa: S310 - the agent under test


@pytest.mark.slow
async def test_axe_finds_nothing_serious_and_no_page_is_wider_than_its_window(
    browser: Browser, tmp_path: Path
) -> None:
    """A refresh by the page's head is critical: it takes the reader's place and focus."""
    with agent_in_a_thread(settings_in(tmp_path)) as agent:
        origin = f"http://127.0.0.1:{agent.port}"
        start_session(origin, "a")
        async with open_tab(browser, origin) as wide:
            found = [await wide.violations(SERIOUS), await wide.pixels_beyond_the_edge()]
        async with open_tab(
            browser, origin, locale="fr-CA", width=400, scheme="dark", scripts=False
        ) as narrow:
            beyond = await narrow.page.evaluate("1") and await narrow.pixels_beyond_the_edge()
            again = await narrow.page.get_by_role("link", name="Actualiser").count()
        async with open_tab(browser, origin, locale="fr-CA", width=400, scheme="dark") as dark:
            found += [await dark.violations(SERIOUS), await dark.pixels_beyond_the_edge()]

    assert found == [[], 0, [], 0]
    assert (beyond, again) == (0, 1)
    assert wide.complaints == narrow.complaints == dark.complaints == []


@pytest.mark.slow
async def test_page_follows_the_agent_and_says_since_when_it_does_not_answer(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "DAY_SECONDS", 0.0)
    with agent_in_a_thread(settings_in(tmp_path)) as agent:
        origin = f"http://127.0.0.1:{agent.port}"
        async with open_tab(browser, "about:blank") as tab:
            await tab.page.clock.install()
            await tab.page.goto(origin)
            summary = tab.page.locator("#hours-summary")
            await summary.press("Enter")
            shown = await tab.page.locator("#figures").inner_text()

            start_session(origin, "a")
            await tab.page.clock.run_for(6_000)
            await tab.page.get_by_text("Session started").wait_for()
            await tab.page.locator(".captured span").get_by_text("1 in all").wait_for()
            focus = await tab.page.evaluate("document.activeElement.id")
            is_open = await tab.page.locator("#hours").get_attribute("open")

            await tab.page.route("**/*", lambda route: route.abort())
            await tab.page.clock.run_for(6_000)
            alarm = tab.page.get_by_role("alert")
            await alarm.wait_for()
            silent = await alarm.inner_text()

            await tab.page.unroute("**/*")
            await tab.page.clock.run_for(6_000)
            await alarm.wait_for(state="hidden")

    assert re.search(r"Last sequence number\s+0", shown)
    assert focus == "hours-summary"
    assert is_open is not None
    assert re.match(r"The agent has not answered since .*\d:\d\d", silent)


@pytest.mark.slow
@pytest.mark.parametrize("scripts", [True, False])
async def test_times_are_the_readers_own_and_utc_without_a_script(
    browser: Browser,
    tmp_path: Path,
    scripts: bool,  # noqa: FBT001 - a case
) -> None:
    with agent_in_a_thread(settings_in(tmp_path)) as agent:
        context = await browser.new_context(
            timezone_id="Asia/Kathmandu", locale="en-GB", java_script_enabled=scripts
        )
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{agent.port}")
        time = page.locator("#as-of time")
        text, utc = await time.inner_text(), await time.get_attribute("datetime")
        foot = await page.locator(".foot").inner_text()
        await context.close()

    assert utc is not None
    if scripts:
        local = (int(utc[11:13]) * 60 + int(utc[14:16]) + 345) % 1440
        assert f"{local // 60:02}:{local % 60:02}" in text
        assert "Asia/Kathmandu" in foot or "Asia/Katmandu" in foot
    else:
        assert text.endswith(" UTC")
        assert "Times are in UTC." in foot


@pytest.mark.slow
async def test_page_lives_in_a_browser_whose_language_is_no_language_tag(
    browser: Browser, tmp_path: Path
) -> None:
    """A browser that is started under LANG=C may have `en-US@posix`."""
    posix = "Object.defineProperty(navigator, 'languages', { value: ['en-US@posix'] })"
    with agent_in_a_thread(settings_in(tmp_path)) as agent:
        context = await browser.new_context()
        await context.add_init_script(posix)
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{agent.port}")
        await page.locator("html.live").wait_for()
        text = await page.locator("#as-of time").inner_text()
        await context.close()

    assert not text.endswith(" UTC")


@pytest.mark.slow
async def test_rejected_capture_is_shown_with_its_reason_and_retried_with_the_admin_token(
    browser: Browser, tmp_path: Path
) -> None:
    admin = tmp_path / "admin"
    admin.write_text(ADMIN)
    async with ScriptedCentral() as central:
        central.refuse("bad", None, "INVALID_REQUEST", "prompt is missing")
        settings = settings_in(
            tmp_path / "state",
            store=StoreSettings(store_id="0042", till_id="till-1"),
            central={"url": central.url},
            sync=QUICK,
            api=ApiSettings(port=0, admin_token_file=admin),
        )
        async with agent_under_test(settings) as agent:
            shop = Shop(agent, TillLedger())
            await agent.start_session({"correlationId": "bad"})
            await shop.until(deadLetters=1)
            central.accept_all()
            origin = f"http://127.0.0.1:{agent.address.port}"
            async with open_tab(browser, origin, locale="fr-CA") as tab:
                refused = await tab.page.locator("#refused").inner_text()
                language = await tab.page.locator("#refused [lang=en]").inner_text()
                said = tab.page.locator("#said")
                await _retry(tab.page, "wrong")
                await said.get_by_text("Le jeton est absent ou erron").wait_for()
                await _retry(tab.page, ADMIN)
                await said.get_by_text("Elle sera renvoy").wait_for()
                serious = await tab.violations(SERIOUS)
            await shop.until(deadLetters=0, waiting=0)

    assert "INVALID_REQUEST" in refused
    assert "Le contenu ne respecte pas les règles du siège." in refused
    assert language == "prompt is missing"
    assert serious == []


async def _retry(page: Page, token: str) -> None:
    await page.get_by_role("button", name=re.compile("^Réessayer")).click()
    await page.get_by_label("Jeton d'administration").fill(token)
    await page.get_by_role("button", name="Renvoyer").click()
