"""A few stores in real time, with real connections, HTTP, receiver and database.

Answers are counted at the stores.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from yarl import URL

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.auth import bearer
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpOptions, HttpResponse
from tests.fleet.account import Account
from tests.fleet.chain import Outcome, delivering, until_all_is_delivered
from tests.fleet.store import SETTINGS, STARTED_AT, TILL, Store
from tests.support.head_office.messages import SimulatedAgent
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.sqlite import rows_in

TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class SmallFleet:
    """The number of stores, the events of each, and the length of the outage."""

    stores: int
    events_each: int
    rate: int
    outage_seconds: float


class CountingClient(HttpClient):
    """A real connection that counts head office's answers."""

    def __init__(self, rules: HttpOptions, account: Account, store_id: str) -> None:
        super().__init__(rules)
        self._account = account
        self._store_id = store_id

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        server: str = "head office",
    ) -> HttpResponse | Blocked | RetryLater:
        """Send the request and count its answer."""
        answer = await super().request(method, url, headers=headers, body=body, server=server)
        if not isinstance(answer, HttpResponse):
            self._account.attempted()
            return answer
        self._account.arrived(self._store_id)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            self._account.rejected(self._store_id, int(answer.headers["Retry-After"]))
        return answer


async def outage_of_fleet(fleet: SmallFleet, directory: Path, seed: int = 1) -> Outcome:
    """Run the outage; the receiver's database and the tokens are in `directory`."""
    names = [f"{number:05}" for number in range(fleet.stores)]
    port = await _enrolled(names, directory)
    account = Account(asyncio.get_running_loop().time() + fleet.outage_seconds)
    rng = random.Random(seed)
    async with AsyncExitStack() as parts:
        stores = []
        for name in names:
            http = CountingClient(HttpOptions(SETTINGS.timeout_seconds), account, name)
            parts.push_async_callback(http.close)
            token = bearer(directory / f"{name}.token")
            client = CentralClient(http, f"http://127.0.0.1:{port}", token, lambda: STARTED_AT)
            stores.append(Store(name, client, rng.random))
        await parts.enter_async_context(delivering(stores))
        for store in stores:
            for _ in range(fleet.events_each):
                store.capture()
        await asyncio.sleep(fleet.outage_seconds)
        settings = settings_in(
            directory, server={"port": port}, intake={"events_per_second": fleet.rate}
        )
        receiver = await parts.enter_async_context(receiver_under_test(settings))
        await until_all_is_delivered(stores, TIMEOUT_SECONDS)
        return _outcome(account, stores, receiver)


async def _enrolled(names: list[str], directory: Path) -> int:
    """Enroll the stores at a receiver, stop it, and return its port."""
    async with receiver_under_test(settings_in(directory)) as receiver:
        for name in names:
            token = await receiver.enroll(SimulatedAgent(name, TILL))
            file = directory / f"{name}.token"
            file.touch(mode=0o600)
            file.write_text(token)
        return receiver.address.port


def _outcome(account: Account, stores: list[Store], receiver: Receiver) -> Outcome:
    captured = sum(store.backlog.captured for store in stores)
    ((kept,),) = rows_in(receiver.database, "SELECT count(*) FROM sessions")
    assert isinstance(kept, int)
    return Outcome(
        account,
        captured=captured,
        waiting_at_recovery=captured,
        undelivered=sum(store.waiting for store in stores),
        lost=captured - kept,
    )
