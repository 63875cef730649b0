"""Status page: notices, figures, activity, languages; only files of the agent."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agent.api.page.activity import Activity
from agent.api.page.page import status_page
from agent.languages.catalogue import languages
from tests.support.agent.in_process import Agent
from tests.support.central import ScriptedCentral
from tests.support.shop.shop import shop_at

STORAGE: dict[str, object] = {
    "state": "ready",
    "directory": "/data",
    "databaseBytes": 3 * 1024**2,
    "freeBytes": 80 * 1024**3,
    "setAside": [],
}
SYNC: dict[str, object] = {
    "state": "idle",
    "trouble": None,
    "detail": None,
    "httpStatus": None,
    "failures": 0,
    "nextTryInSeconds": None,
    "lastDeliveryAt": None,
    "passes": 0,
    "delivered": 0,
    "refused": 0,
}
REPORT: dict[str, object] = {
    "version": "1",
    "storeId": "store-7",
    "tillId": "till-3",
    "startedAt": "2026-01-02T03:04:05.678Z",
    "epoch": "e",
    "lastSequence": 1_234_567,
    "watermark": 0,
    "waiting": 0,
    "oldestWaitingAt": None,
    "deadLetters": 0,
    "central": {"url": "https://hq.example", "protocol": "batch"},
}


def page_of(
    *,
    storage: dict[str, object] | None = None,
    sync: dict[str, object] | None = None,
    **changes: object,
) -> str:
    """Return the page of a healthy agent with these changes."""
    report = REPORT | {"storage": STORAGE | (storage or {}), "sync": SYNC | (sync or {})} | changes
    return page_in("en", report)


def page_in(code: str, report: dict[str, object]) -> str:
    activity = Activity([], None, [])
    now = "2026-01-02T03:04:05.678Z"
    return status_page(report, activity, languages()[code], now, needs_token=False)


def notices(page: str) -> list[tuple[str, str]]:
    """Return the notices: kind and text."""
    found = re.findall(r'<p class="state (\w+)">(.*?)</p>', page)
    return [(kind, unescape(text)) for kind, text in found]


def figures(page: str) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    return {name: re.sub("<[^>]*>", "", text) for name, text in found}


class Elements(HTMLParser):
    """Collects the elements of a page and their attributes that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


async def test_page_has_nothing_inline_no_refresh_and_only_files_of_the_agent(agent: Agent) -> None:
    answer = await agent.get("/")

    page, elements = answer.body.decode(), Elements()
    elements.feed(page)
    assert (answer.header("Content-Type") or "").startswith("text/html")
    assert not elements.tags & {"img", "iframe", "object", "style"}
    assert not elements.attributes & {"style", "onclick", "onload", "http-equiv"}
    assert re.findall(r"<script([^>]*)>(.*?)</script>", page) == [
        (' src="/page/page.js" defer', "")
    ]
    sources = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert sources == {"/page/page.css", "/page/page.js", "/", "data:,"}
    policy = answer.header("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)


@pytest.mark.parametrize("name", ["x.js", "..%2fpage.py", ""])
async def test_only_the_files_of_the_page_are_served(agent: Agent, name: str) -> None:
    assert (await agent.get("/page/page.js")).status == 200
    assert (await agent.get(f"/page/{name}")).status == 404


@pytest.mark.parametrize(
    ("accepted", "code", "word"),
    [
        ("fr-CA,fr;q=0.9,en;q=0.8", "fr", "Siège"),
        ("en", "en", "Head office"),
        ("de", "en", "Agent"),
    ],
)
async def test_page_is_in_the_language_of_the_browser(
    agent: Agent, accepted: str, code: str, word: str
) -> None:
    answer = await agent.request("GET", "/", headers={"Accept-Language": accepted})

    page = answer.body.decode()
    assert answer.header("Content-Language") == code
    assert f'<html lang="{code}">' in page
    assert f"<h2>{word}</h2>" in page


def test_page_escapes_all_values() -> None:
    hostile = "<script>alert(1)</script>\"'&$till${state}"
    names = ("version", "storeId", "tillId", "startedAt", "epoch", "oldestWaitingAt")

    page = page_of(
        storage={"state": "down", "reason": hostile, "directory": hostile, "setAside": [hostile]},
        sync={"state": "retrying", "trouble": hostile, "detail": hostile, "nextTryInSeconds": 1.0},
        central={"url": hostile, "protocol": hostile},
        **dict.fromkeys(names, hostile),
    )

    elements = Elements()
    elements.feed(page)
    assert page.count("<script") == 1
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;$till${state}") >= 9


def test_words_of_others_are_escaped_and_marked_as_english_on_a_french_page() -> None:
    hostile = "<b>no route</b> \u202f» <i>"
    sync = SYNC | {"state": "retrying", "trouble": "no network", "detail": hostile}
    page = page_in("fr", REPORT | {"storage": STORAGE, "sync": sync})

    assert "<b>" not in page
    assert "<i>" not in page
    assert 'pas de réseau («\u202f<span lang="en">&lt;b&gt;no route&lt;/b&gt; ' in page


def test_page_distinguishes_none_from_unknown() -> None:
    page = page_of(deadLetters=None, sync={"state": "capture only"})

    shown = figures(page)
    assert shown["Pending captures"] == "0"
    assert shown["Oldest of them"] == "none"
    assert shown["Dead letters"] == "unknown"
    assert shown["Last delivery"] == "none since the start"
    assert shown["Last sequence number"] == "1,234,567"
    assert shown["Running since"] == "2026-01-02 03:04:05 UTC"
    assert (shown["Database"], shown["Free disk space"]) == ("3.0 MiB", "80.0 GiB")


@pytest.mark.parametrize("state", ["idle", "delivering", "quiet hours"])
def test_page_of_a_healthy_agent_has_no_warning(state: str) -> None:
    page = page_of(sync={"state": state})

    assert [kind for kind, _ in notices(page)] == ["ok", "ok"]
    assert notices(page)[0] == ("ok", "Captures are recorded on this machine.")


async def test_alarm_is_shown_while_head_office_rejects_the_agent(
    tmp_path: Path,
) -> None:
    async with ScriptedCentral() as central, shop_at(tmp_path, central.url, "batch") as shop:
        central.credentials = {"Bearer another"}
        await shop.trade(1)
        await shop.until(state="holding")
        refused = (await shop.agent.get("/")).body.decode()
        central.credentials = None
        await shop.delivered()
        await shop.until(state="idle")
        delivered = (await shop.agent.get("/")).body.decode()

    assert [kind for kind, _ in notices(refused)] == ["ok", "alarm"]
    assert "unauthorized" in notices(refused)[1][1]
    assert [kind for kind, _ in notices(delivered)] == ["ok", "ok"]
    assert figures(delivered)["Last delivery"].endswith(" UTC")
