"""Signing in with a real browser: by link, by token, with TLS at either end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.support.certificates import make_certificate
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def new_browser(browser: Browser) -> AsyncIterator[Page]:
    """Open a page without any cookie, in English; it accepts the tests' certificates."""
    context = await browser.new_context(locale="en-CA", ignore_https_errors=True)
    yield await context.new_page()
    await context.close()


@asynccontextmanager
async def head_office(directory: Path, **sections: object) -> AsyncIterator[tuple[Receiver, str]]:
    """Start a receiver; yield it and the link that it shows."""
    async with receiver_under_test(settings_in(directory, **sections)) as receiver:
        (link,) = receiver.server.sign_in_links
        yield receiver, link


async def cookie_of(page: Page) -> Any:  # noqa: ANN401 - the browser's own structure
    (cookie,) = await page.context.cookies()
    return cookie


async def test_link_signs_in_one_browser_once(browser: Browser, tmp_path: Path) -> None:
    async with head_office(tmp_path) as (_, link):
        async with new_browser(browser) as page:
            await page.goto(link)
            await page.wait_for_selector("h1:has-text('Fleet')")
            after, cookie = page.url, await cookie_of(page)
        async with new_browser(browser) as second:
            await second.goto(link)
            told = await second.inner_text("#wrong")
            address, cookies = second.url, await second.context.cookies()

    secret = link.partition("#")[2]
    assert after == f"{link.partition('/sign-in')[0]}/"
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert "has been used or has expired" in told
    assert (secret in address, cookies) == (False, [])


async def test_token_leads_to_the_page_that_was_asked_for_until_sign_out(
    browser: Browser, tmp_path: Path
) -> None:
    async with head_office(tmp_path) as (receiver, link), new_browser(browser) as page:
        asked = link.replace("/sign-in", "/history").partition("#")[0]
        await page.goto(asked)
        await page.fill("#token", receiver.readers_token)
        await page.press("#token", "Enter")
        await page.wait_for_selector("h1:has-text('The last 48 hours')")
        reached = page.url
        await page.click("text=Sign out")
        await page.wait_for_selector("#token")
        await page.goto(asked)
        heading = await page.inner_text("h1")

    assert (reached, heading) == (asked, "Sign in")


async def test_wrong_token_is_told_and_another_try_has_to_wait(
    browser: Browser, tmp_path: Path
) -> None:
    async with head_office(tmp_path) as (receiver, link), new_browser(browser) as page:
        await page.goto(link.partition("#")[0])
        told = []
        for token in ("wrong", receiver.readers_token):
            await page.fill("#token", token)
            async with page.expect_navigation():
                await page.press("#token", "Enter")
            told.append(await page.inner_text("#wrong"))

    assert told == [
        "Wrong token. You can try again in 1 s.",
        "Too many wrong tokens from your address. Try again in 1 s.",
    ]


async def test_with_tls_the_cookie_belongs_to_this_host_and_to_tls(
    browser: Browser, tmp_path: Path
) -> None:
    made = make_certificate(tmp_path / "tls")
    server = {"port": 0, "tls_cert_file": made.cert_file, "tls_key_file": made.key_file}
    async with (
        head_office(tmp_path / "state", server=server) as (_, link),
        new_browser(browser) as page,
    ):
        await page.goto(link)
        await page.wait_for_selector("h1:has-text('Fleet')")
        cookie = await cookie_of(page)

    assert link.startswith("https://127.0.0.1:")
    assert (cookie["name"], cookie["secure"]) == ("__Host-loyalty_hq_reader", True)


async def test_link_works_at_the_machine_behind_a_tls_proxy(
    browser: Browser, tmp_path: Path
) -> None:
    """Browsers take a secure cookie from plain HTTP on this machine alone."""
    server = {"port": 0, "behind_proxy": True}
    async with head_office(tmp_path, server=server) as (_, link), new_browser(browser) as page:
        await page.goto(link)
        await page.wait_for_selector("h1:has-text('Fleet')")
        cookie = await cookie_of(page)

    assert (cookie["name"], cookie["secure"]) == ("__Host-loyalty_hq_reader", True)


async def test_form_of_another_site_does_not_sign_out(browser: Browser, tmp_path: Path) -> None:
    """A page on another port of this machine is the same site: SameSite does not stop it."""
    async with (
        head_office(tmp_path / "one") as (_, link),
        head_office(tmp_path / "two") as (_, other),
        new_browser(browser) as page,
    ):
        own, foreign = (one.partition("/sign-in")[0] for one in (link, other))
        await page.goto(link)
        await page.wait_for_selector("h1:has-text('Fleet')")
        # This page has no content security policy, which would stop the form.
        await page.goto(f"{foreign}/healthz")
        attack = f"""<form id=attack method=post action="{own}/sign-out"></form>"""
        await page.set_content(attack)
        async with page.expect_navigation():
            await page.evaluate("document.querySelector('#attack').submit()")
        told = await page.inner_text("main")
        await page.goto(own)
        heading = await page.inner_text("h1")

    assert "sent by another site" in told
    assert heading == "Fleet"
