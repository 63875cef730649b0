"""A crowd of tills, each on its own connection: request, response, next request.

A crowd keeps N connections busy until it is stopped, and calls a hook for every answer. It uses
raw asyncio protocols because a client library costs more CPU than the servers under test.

    crowd = Crowd("127.0.0.1", 8480, on_acknowledged=acknowledged.append)
    await crowd.open(64)
    ...                      # let them work, cut the power, restart the agent
    await crowd.close()      # requests in progress are still answered
    crowd.in_doubt           # requests whose connection ended before the answer
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias, cast

import msgspec

from tests.support.till.requests import (
    Kind,
    MalformedResponseError,
    Pair,
    Requests,
    Response,
    fresh_pairs,
    parse_response,
)


class CaptureAnswer(msgspec.Struct, frozen=True, gc=False):
    """The answer to one capture; `answered_at` is in seconds of the machine's monotonic clock."""

    kind: Kind
    correlation_id: str
    status: int
    body_bytes: int
    receipt: str | None
    answered_at: float
    latency_seconds: float


class SentRequest(msgspec.Struct, frozen=True, gc=False):
    """One request that was sent."""

    kind: Kind
    pair: Pair
    asked_at: float

    def answered(self, response: Response) -> CaptureAnswer:
        """Return the answer that has just come."""
        now = time.monotonic()
        return CaptureAnswer(
            self.kind,
            self.pair.correlation_id,
            response.status,
            len(response.body),
            response.receipt,
            now,
            now - self.asked_at,
        )


Hook: TypeAlias = Callable[[CaptureAnswer], object]


def ignore_answer(_answer: CaptureAnswer) -> None:
    """Ignore an answer."""


class Till(asyncio.Protocol):
    """One till on one keep-alive connection, with one request in flight at a time.

    `on_acknowledged` is called for every 200, `on_refused` for every other answer; the till
    continues after either. A pair whose session is refused ends there. `ended` resolves when
    the connection is closed, to the unanswered request or None.
    """

    def __init__(
        self,
        requests: Requests,
        pairs: Iterator[Pair],
        on_acknowledged: Hook = ignore_answer,
        on_refused: Hook = ignore_answer,
    ) -> None:
        self.ended: asyncio.Future[SentRequest | None] = asyncio.get_running_loop().create_future()
        self.on_acknowledged = on_acknowledged
        self.on_refused = on_refused
        self._requests = requests
        self._pairs = pairs
        self._received = b""
        self._question: SentRequest | None = None
        self._stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the first customer."""
        self._transport = cast("asyncio.Transport", transport)
        self._next_customer()

    def data_received(self, data: bytes) -> None:
        """Buffer the data; continue once the response is complete."""
        received = self._received + data if self._received else data
        try:
            response = parse_response(received)
        except MalformedResponseError as error:
            self._fail(error)
            return
        if response is None:
            self._received = received
            return
        self._received = b""
        self._take(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """Resolve `ended` with the unanswered request, if any."""
        del exc  # for a till, a reset and a close are the same: no answer
        if not self.ended.done():
            self.ended.set_result(self._question)

    def stop(self) -> None:
        """Send no further requests; close after the response in flight."""
        self._stopping = True
        if self._question is None:
            self._transport.close()

    def abort(self) -> None:
        """Close now, answered or not."""
        self._transport.abort()

    def _take(self, response: Response) -> None:
        question = self._question
        if question is None:
            self._fail(MalformedResponseError(f"An answer that nobody asked for: {response}"))
            return
        self._question = None
        acknowledged = response.status == 200
        hook = self.on_acknowledged if acknowledged else self.on_refused
        hook(question.answered(response))
        if acknowledged and question.kind is Kind.SESSION and not self._stopping:
            self._ask(Kind.EMAIL, question.pair, self._requests.email(question.pair))
        else:
            self._next_customer()

    def _next_customer(self) -> None:
        pair = None if self._stopping else next(self._pairs, None)
        if pair is None:
            self._transport.close()
        else:
            self._ask(Kind.SESSION, pair, self._requests.session(pair))

    def _ask(self, kind: Kind, pair: Pair, payload: bytes) -> None:
        self._question = SentRequest(kind, pair, time.monotonic())
        self._transport.write(payload)

    def _fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
        self._transport.abort()


class Crowd:
    """Many tills on one server that share the customers and the hooks."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        pairs: Iterator[Pair] | None = None,
        on_acknowledged: Hook = ignore_answer,
        on_refused: Hook = ignore_answer,
        token: str | None = None,
    ) -> None:
        self.in_doubt: list[SentRequest] = []
        self.failures: list[Exception] = []
        self._host, self._port = host, port
        self._requests = Requests(host, port, token)
        self._pairs = fresh_pairs() if pairs is None else pairs
        self._hooks = (on_acknowledged, on_refused)
        self._tills: list[Till] = []

    async def open(self, connections: int) -> None:
        """Connect the tills; each begins at once. Raises OSError if the server does not listen."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, till = await loop.create_connection(self._till, self._host, self._port)
            till.ended.add_done_callback(self._note)
            self._tills.append(till)

    async def finished(self, timeout_seconds: float | None = None) -> bool:
        """Wait until every connection has ended; return False on timeout."""
        endings = [till.ended for till in self._tills]
        if not endings:
            return True
        _, pending = await asyncio.wait(endings, timeout=timeout_seconds)
        return not pending

    async def close(self, timeout_seconds: float = 30.0) -> None:
        """Stop sending and wait for responses in flight; abort the rest (in doubt)."""
        for till in self._tills:
            till.stop()
        if await self.finished(timeout_seconds):
            return
        for till in self._tills:
            till.abort()
        await self.finished()

    def _till(self) -> Till:
        return Till(self._requests, self._pairs, *self._hooks)

    def _note(self, ended: asyncio.Future[SentRequest | None]) -> None:
        error = ended.exception()
        if isinstance(error, Exception):
            self.failures.append(error)
        elif (question := ended.result()) is not None:
            self.in_doubt.append(question)
