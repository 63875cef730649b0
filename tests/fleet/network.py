"""Simulated network between the stores and head office, with its failure modes."""

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from http import HTTPStatus

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from sync.delivery.outcomes import Blocked, RetryLater
from sync.delivery.transports.http_client import HttpClient, HttpOptions, HttpResponse
from sync.delivery.transports.network_errors import ResponseLost, failure_from
from tests.fleet.account import Account
from tests.fleet.office import HeadOffice

# Minimum latency each way; up to as much again is added at random.
LATENCY_SECONDS = 0.02
# A lost first packet is retransmitted after these pauses (RFC 6298, as Linux does); they add up
# to the agent's timeout of 10 s.
_RETRANSMIT_SECONDS = (1.0, 2.0, 4.0, 3.0)
_KEY = ConnectionKey("head-office.example", 443, True, True, None, None, None)


class Condition(StrEnum):
    """State of the path to head office."""

    UP = "head office is up"
    REFUSED = "connections are refused"
    FAILING = "a proxy before head office answers 502"
    SILENT = "packets to head office are dropped"
    HUNG = "head office accepts connections and does not answer"
    NETWORK_DOWN = "the stores' own networks are down"


class Network:
    """Carries requests to head office, subject to its condition. `rng` returns 0 to 1."""

    def __init__(self, office: HeadOffice, account: Account, rng: Callable[[], float]) -> None:
        self._office = office
        self._account = account
        self._random = rng
        self._condition = Condition.UP
        self._changed = asyncio.Event()

    def change(self, condition: Condition) -> None:
        """Change the condition; requests hanging in the previous one are cut."""
        self._condition = condition
        self._changed.set()
        self._changed = asyncio.Event()

    async def carry(
        self, store_id: str, body: bytes, timeout_seconds: float
    ) -> HttpResponse | RetryLater:
        """Return the answer to a request, or its network error."""
        if self._condition is Condition.NETWORK_DOWN:
            self._account.attempted()
            return _no_connection(errno.ENETUNREACH)
        await self._delay()
        if not await self._is_connected():
            return failure_from(aiohttp.ConnectionTimeoutError())
        if self._condition is not Condition.UP:
            self._account.attempted()
            return await self._failure(timeout_seconds)
        answer = await self._office.take(store_id, body)
        await self._delay()
        return answer

    async def _is_connected(self) -> bool:
        for pause in _RETRANSMIT_SECONDS:
            if self._condition is not Condition.SILENT:
                return True
            await asyncio.sleep(pause)
        return False

    async def _failure(self, timeout_seconds: float) -> HttpResponse | RetryLater:
        if self._condition is Condition.FAILING:
            return HttpResponse(HTTPStatus.BAD_GATEWAY, {"Content-Type": "text/html"}, b"<html>")
        if self._condition is not Condition.HUNG:
            return _no_connection(errno.ECONNREFUSED)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        except TimeoutError as silence:
            return failure_from(silence)
        return failure_from(ResponseLost())

    async def _delay(self) -> None:
        await asyncio.sleep(LATENCY_SECONDS * (1 + self._random()))


class SimulatedClient(HttpClient):
    """A store's connection, carried by the simulated network."""

    def __init__(self, network: Network, store_id: str, rules: HttpOptions) -> None:
        super().__init__(rules)
        self._network = network
        self._store_id = store_id
        self._seconds = rules.timeout_seconds

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        server: str = "",
    ) -> HttpResponse | Blocked | RetryLater:
        """Return the result of the request."""
        return await self._network.carry(self._store_id, body or b"", self._seconds)


def _no_connection(number: int) -> RetryLater:
    reason = OSError(number, os.strerror(number))
    return failure_from(aiohttp.ClientConnectorError(_KEY, reason))
