"""The pages in a real browser: with zero, three and ten thousand stores, in both languages.

Screenshots are kept in LOYALTY_PICTURES if set, else in the test's directory.
"""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from sync.receiver.config import DATABASE_FILE
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.reports.history import HOURS_SHOWN
from tests.support.browser import BrowserTab, Scheme, open_tab
from tests.support.head_office.messages import SimulatedAgent, answer, session
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.head_office.sample_chain import fill, fill_hours

pytestmark = pytest.mark.asyncio(loop_scope="module")
Chain = Callable[[int], Awaitable[str]]
# Enough for two pages, with a store in each condition.
SOME = 100
SESSION = "7f2c1b1e-3a52-4d6f-9a31-0d6b1f5f0001"
TOKEN = "a-token-of-twenty-or-more-letters"  # noqa: S105 - of these tests only
LANGUAGES = {"en-CA": "Fleet", "fr-CA": "Parc de magasins"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chain]:
    """Return the URL of a head office with this many stores."""
    served: dict[int, Receiver] = {}
    async with AsyncExitStack() as running:

        async def serving(stores: int) -> str:
            if stores not in served:
                directory = tmp_path_factory.mktemp(f"chain-{stores}")
                database = SqliteFile(directory / DATABASE_FILE)
                await database.open()
                await fill(database, stores)
                await fill_hours(database, min(stores, 20), HOURS_SHOWN)
                await database.close()
                token_file = directory / "token"
                token_file.write_text(TOKEN)
                access = {"admin_token_file": token_file, "open_on_loopback": True}
                starting = receiver_under_test(settings_in(directory, access=access))
                served[stores] = await running.enter_async_context(starting)
                if stores == SOME:
                    await capture(served[stores])
            return f"http://127.0.0.1:{served[stores].address.port}"

        yield serving


async def capture(receiver: Receiver) -> None:
    """Submit a session with two answers, and a rejected event, from the first store."""
    till = SimulatedAgent("00001", "till-1", "0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    await receiver.enroll(till)
    answers = answer(4, SESSION, None, "deferred"), answer(5, SESSION)
    await receiver.heartbeat(till, lastSequence=2)
    await receiver.send(
        till, session(3, SESSION), *answers, session(6, type="points.spent"), baseSequence=3
    )


@pytest.fixture
def picture(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return the path of this test's screenshot."""
    directory = Path(os.environ.get("LOYALTY_PICTURES", tmp_path))
    directory.mkdir(exist_ok=True, parents=True)
    return directory / f"{request.node.name}.png".replace("/", "_")


async def take(tab: BrowserTab, picture: Path) -> None:
    """Take a full-page screenshot."""
    await tab.page.screenshot(path=picture, full_page=True)


@pytest.mark.parametrize("locale", LANGUAGES)
@pytest.mark.parametrize("stores", [0, 3, 10_000])
async def test_fleet_page_renders_accessibly_in_each_language_and_size(
    browser: Browser, chain: Chain, picture: Path, stores: int, locale: str
) -> None:
    async with open_tab(browser, await chain(stores), locale=locale) as tab:
        await take(tab, picture)

        assert tab.complaints == []
        assert await tab.page.inner_text("h1") == LANGUAGES[locale]
        assert await tab.page.locator(".wide tbody tr").count() == min(stores, 50)
        assert await tab.page.locator(".plots.drawn canvas").count() == (3 if stores else 0)
        # Accessibility is checked once: other languages add no elements, and ten thousand stores no
        # new kind of row.
        assert stores > SOME or locale != "en-CA" or await tab.violations() == []


@pytest.mark.parametrize(
    ("path", "scheme"),
    [
        ("/?search=9", "light"),
        ("/?search=9", "dark"),
        ("/stores/00082", "dark"),
        ("/stores/00001", "light"),
        (f"/sessions?id={SESSION}", "dark"),
        ("/history", "light"),
        ("/sign-in", "dark"),
        ("/stores/none", "light"),
    ],
)
async def test_every_page_is_readable_in_dark_mode_and_on_a_small_screen(
    browser: Browser, chain: Chain, picture: Path, path: str, scheme: Scheme
) -> None:
    url = f"{await chain(SOME)}{path}"
    async with open_tab(browser, url, locale="fr-CA", width=360, scheme=scheme) as tab:
        await take(tab, picture)

        assert await tab.violations() == []
        assert (await tab.pixels_beyond_the_edge(), await tab.cut_buttons()) == (0, 0)


@pytest.mark.parametrize("path", ["/?search=9", "/stores/00082"])
async def test_fleet_table_does_not_overflow_a_small_screen(
    browser: Browser, chain: Chain, path: str
) -> None:
    async with open_tab(browser, f"{await chain(SOME)}{path}", width=360) as tab:
        cards = tab.page.locator(".wide:has(.cards)")
        hidden = await cards.evaluate("box => box.scrollWidth - box.clientWidth")
        named = await cards.locator("[data-column] >> nth=0").evaluate(
            "cell => getComputedStyle(cell, '::before').content"
        )

    assert (hidden, named) == (0, '"Tills"' if path.startswith("/?") else '"Last contact"')


async def test_empty_chart_shows_a_message_instead_of_an_empty_frame(
    browser: Browser, chain: Chain
) -> None:
    async with open_tab(browser, f"{await chain(SOME)}/stores/00082") as tab:
        text = await tab.page.locator(".plot").all_inner_texts()
        frames = await tab.page.locator(".plot canvas").count()

    assert (text, frames) == (["No data in these 48 hours."] * 3, 0)


async def test_keyboard_reaches_skip_link_and_fleet(browser: Browser, chain: Chain) -> None:
    async with open_tab(browser, await chain(3)) as tab:
        await tab.page.keyboard.press("Tab")
        first = await tab.page.evaluate("document.activeElement.className")
        await tab.page.keyboard.press("Enter")
        await tab.page.keyboard.press("Tab")
        second = await tab.page.evaluate("document.activeElement.closest('nav').className")

    assert (first, second) == ("skip", "summary")


async def test_chart_shows_the_figures_under_the_pointer(browser: Browser, chain: Chain) -> None:
    async with open_tab(browser, f"{await chain(SOME)}/stores/00001") as tab:
        await tab.page.hover(".plot >> nth=1 >> .u-over")
        text = await tab.page.inner_text(".plot >> nth=1 >> .u-legend")

    assert re.search(r"Accepted\s*\d+\s*Deferred\s*\d+\s*Declined\s*\d+", text)


async def test_chart_says_so_if_its_data_cannot_be_loaded(browser: Browser, chain: Chain) -> None:
    async with open_tab(browser, f"{await chain(0)}/sign-in") as tab:
        await tab.page.route("**/history.json*", lambda route: route.abort())
        await tab.page.goto(f"{await chain(SOME)}/")
        await tab.page.wait_for_selector(".plots.failed", state="attached")

        assert await tab.page.locator(".unplotted").is_visible()


async def test_search_sort_and_pagination_work_without_javascript(
    browser: Browser, chain: Chain
) -> None:
    async with open_tab(browser, await chain(SOME), scripts=False) as tab:
        await tab.page.fill("#search", "09")
        await tab.page.press("#search", "Enter")
        found = await tab.page.inner_text("caption")
        await tab.page.click("thead a:has-text('Store')")
        first = await tab.page.inner_text(".wide tbody th >> nth=0")
        await tab.page.click("nav >> text=Fleet")
        await tab.page.click("text=Next")
        page = await tab.page.inner_text("nav.pages span")

    assert (found, first, page) == ("11 stores, sorted by state", "00009", "Page 2 of 2")
