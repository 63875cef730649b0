"""Many readers at once: the same page is read once, and tills are answered meanwhile."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from sync.receiver.pages import routes
from sync.receiver.reports.fleet import FleetPage, FleetQuery, fleet_page
from sync.receiver.reports.tills import Reference
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.receiver import Receiver
from tests.support.patience import PATIENCE_SECONDS


class SlowPage:
    """The fleet page's query, which takes until it is released."""

    def __init__(self) -> None:
        self.calls = 0
        self.released = threading.Event()

    def __call__(
        self, connection: Connection, reference: Reference, query: FleetQuery
    ) -> FleetPage:
        self.calls += 1
        assert self.released.wait(PATIENCE_SECONDS)
        return fleet_page(connection, reference, query)


@pytest.fixture
def slow_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowPage]:
    slow = SlowPage()
    monkeypatch.setattr(routes, "fleet_page", slow)
    yield slow
    slow.released.set()


def open_pages(receiver: Receiver, *paths: str) -> "asyncio.Future[list[int]]":
    async def statuses() -> list[int]:
        return [one.status for one in await asyncio.gather(*map(receiver.get, paths))]

    return asyncio.ensure_future(statuses())


async def called(slow: SlowPage, times: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while slow.calls < times:  # noqa: ASYNC110 - called in another thread
            await asyncio.sleep(0.001)


async def test_tills_are_answered_while_readers_wait_for_slow_pages(
    receiver: Receiver, till: SimulatedAgent, slow_page: SlowPage
) -> None:
    """Each search is another query; a token is looked up on the same connections."""
    pages = open_pages(receiver, *(f"/?search={number}" for number in range(12)))
    await called(slow_page, 1)

    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        answers = [await receiver.heartbeat(till), await receiver.send(till, session(1))]

    assert [one.status for one in answers] == [200, 200]
    slow_page.released.set()
    assert await pages == [200] * 12


async def test_concurrent_visitors_of_the_same_page_share_one_query(
    receiver: Receiver, slow_page: SlowPage
) -> None:
    pages = open_pages(receiver, *["/?sort=waiting"] * 8)
    await called(slow_page, 1)
    # A request after all of them: each has been received.
    assert (await receiver.get("/healthz")).status == 200
    slow_page.released.set()

    assert await pages == [200] * 8
    assert slow_page.calls <= 2


async def test_visitor_after_a_shared_query_gets_a_new_one(
    receiver: Receiver, till: SimulatedAgent, slow_page: SlowPage
) -> None:
    slow_page.released.set()
    await receiver.get("/")
    await receiver.heartbeat(till, deadLetters=2, freeBytes=10**12)

    assert "chip refused" in (await receiver.get("/")).body.decode()
    assert slow_page.calls == 2


async def test_failed_shared_query_fails_for_all_and_is_tried_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(routes, "fleet_page", fails)
        failed = await open_pages(receiver, "/", "/")

    assert failed == [503, 503]
    assert (await receiver.get("/")).status == 200
