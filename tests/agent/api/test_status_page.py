"""Status page: notices, figures, no script, no external resource."""

import base64
import hashlib
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from agent.api.status_page import status_page
from tests.support.agent.in_process import Agent
from tests.support.central import ScriptedCentral
from tests.support.shop.shop import shop_at

if TYPE_CHECKING:
    from agent.api.status import StatusReport

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
    return status_page(cast("StatusReport", report))[0]


def notices(page: str) -> list[tuple[str, str]]:
    """Return the notices: kind and text."""
    found = re.findall(r'<p class="state (\w+)" role="status">(.*?)</p>', page)
    return [(kind, unescape(text)) for kind, text in found]


def figures(page: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))


class Elements(HTMLParser):
    """Collects the elements of a page and their attributes that could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


async def test_page_has_no_script_or_external_resource_and_a_matching_csp(agent: Agent) -> None:
    answer = await agent.get("/")

    page, elements = answer.body.decode(), Elements()
    elements.feed(page)
    assert (answer.header("Content-Type") or "").startswith("text/html")
    assert not elements.tags & {"script", "img", "iframe", "object", "form", "link", "a"}
    assert not elements.attributes & {"src", "href", "style", "onclick", "onload"}
    policy = answer.header("Content-Security-Policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy


def test_page_escapes_all_values() -> None:
    hostile = "<script>alert(1)</script>\"'&$till${state}"
    words = ("version", "storeId", "tillId", "startedAt", "epoch", "oldestWaitingAt")

    page = page_of(
        storage={"state": "down", "reason": hostile, "directory": hostile, "setAside": [hostile]},
        sync={"state": "retrying", "trouble": hostile, "detail": hostile, "nextTryInSeconds": 1.0},
        central={"url": hostile, "protocol": hostile},
        **dict.fromkeys(words, hostile),
    )

    elements = Elements()
    elements.feed(page)
    assert "script" not in elements.tags
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;$till${state}") >= 9


def test_page_distinguishes_none_from_unknown() -> None:
    page = page_of(deadLetters=None, sync={"state": "capture only"})

    shown = figures(page)
    assert shown["Waiting for head office"] == shown["Oldest of them"] == "none"
    assert shown["Refused by head office"] == "not known now"
    assert shown["Last delivery"] == "none since the start"
    assert shown["Last capture number"] == "1,234,567"
    assert shown["Running since"] == "2026-01-02 03:04:05 UTC"
    assert shown["Delivery"] == "captures are kept here and sent nowhere"
    assert (shown["Database"], shown["Free disk space"]) == ("3.0 MiB", "80.0 GiB")


@pytest.mark.parametrize("state", ["idle", "delivering", "quiet hours", "capture only"])
def test_page_of_a_healthy_agent_has_only_the_ready_notice(state: str) -> None:
    page = page_of(sync={"state": state})

    assert notices(page) == [("ready", "Captures are taken and kept on this machine.")]


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"storage": {"state": "full"}}, "alarm", "Captures are refused: there is no room"),
        ({"storage": {"state": "down"}}, "alarm", "Captures are refused: the storage does not"),
        ({"sync": {"state": "holding"}}, "alarm", "Head office refuses this machine"),
        ({"sync": {"state": "retrying"}}, "note", "Head office is not reached"),
        ({"deadLetters": 1_003}, "note", "1,003"),
        ({"deadLetters": 1}, "note", "loyalty-agent dead-letters list"),
        ({"storage": {"setAside": ["a", "b"]}}, "note", "set aside: 2"),
    ],
)
def test_condition_that_needs_attention_is_a_notice(
    changes: dict[str, Any], kind: str, said: str
) -> None:
    shown = notices(page_of(**changes))

    assert [found for found, text in shown if said in text] == [kind]


def test_next_try_within_a_second_is_rounded_up() -> None:
    page = page_of(sync={"state": "retrying", "nextTryInSeconds": 0.3})

    assert "next try in 1 s" in figures(page)["Delivery"]


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

    assert [kind for kind, _ in notices(refused)] == ["ready", "alarm"]
    assert "unauthorized" in figures(refused)["Delivery"]
    assert [kind for kind, _ in notices(delivered)] == ["ready"]
    assert figures(delivered)["Last delivery"].endswith(" UTC")
