"""A headless Chromium for tests of the pages of both programs."""

import shutil
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, TypeAlias

import pytest
from playwright.async_api import Browser, Error, Page, async_playwright

Scheme: TypeAlias = Literal["light", "dark"]
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_WITHOUT_ONE = (
    "these tests need a Chromium: install Debian's (apt-get install chromium), or have "
    "`.venv/bin/python -m playwright install --with-deps chromium` bring one"
)
_AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
_CUT = "[...document.querySelectorAll('button')].filter(one => one.scrollWidth > one.clientWidth)"
_BEYOND_THE_EDGE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass(slots=True)
class BrowserTab:
    """An open page and the errors that the browser reported for it."""

    page: Page
    complaints: list[str]

    async def violations(self, impacts: Container[str] | None = None) -> list[str]:
        """Return the accessibility violations that axe-core finds, contrast included.

        `impacts` are those that count, such as `serious`; None: all.
        """
        await self.page.evaluate(_AXE)
        found = await self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{one['id']}: {node['html']} {node['failureSummary']}"
            for one in found["violations"]
            if impacts is None or one["impact"] in impacts
            for node in one["nodes"]
        ]

    async def cut_buttons(self) -> int:
        """Return the number of buttons with a cut label."""
        return int(await self.page.evaluate(f"{_CUT}.length"))

    async def pixels_beyond_the_edge(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(await self.page.evaluate(_BEYOND_THE_EDGE))


@asynccontextmanager
async def running_browser(*arguments: str) -> AsyncIterator[Browser]:
    """Start the machine's Chromium, or the one installed by Playwright."""
    async with async_playwright() as playwright:
        own = next((path for name in _NAMES if (path := shutil.which(name))), None)
        try:
            # Containers lack what the sandbox needs; the browser loads only pages of this project.
            browser = await playwright.chromium.launch(
                executable_path=own,
                args=["--no-sandbox", "--font-render-hinting=none", *arguments],
            )
        except Error as error:
            pytest.fail(f"{_WITHOUT_ONE}\n{error}")
        yield browser
        await browser.close()


@asynccontextmanager
async def open_tab(
    browser: Browser,
    url: str,
    *,
    locale: str = "en-CA",
    width: int = 1280,
    scheme: Scheme = "light",
    scripts: bool = True,
) -> AsyncIterator[BrowserTab]:
    """Open a page with this language, window and color scheme; wait until its plots are drawn."""
    context = await browser.new_context(
        locale=locale,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )
    page = await context.new_page()
    tab = BrowserTab(page, [])
    page.on("console", lambda message: tab.complaints.append(message.text))
    page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    page.on("requestfailed", lambda request: tab.complaints.append(f"not loaded: {request.url}"))
    await page.goto(url)
    if scripts and await page.locator(".plots").count():
        await page.wait_for_selector(".plots.drawn, .plots.failed", state="attached")
    yield tab
    await context.close()
