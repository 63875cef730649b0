"""Tills that open a new connection for each request, to show that restarts refuse no request.

A crowd (`crowd.py`) keeps its connections and ends with them. These tills connect, send one
request and disconnect, as many real tills do; refused connections and lost answers are counted.
"""

import asyncio
import time
from collections.abc import Iterator

from tests.support.till.crowd import Hook, SentRequest, ignore_answer
from tests.support.till.requests import Kind, Pair, Requests, Response, read_response


class ReconnectingTills:
    """Tills that put load on a service from `start` to `stop`."""

    def __init__(
        self,
        host: str,
        port: int,
        pairs: Iterator[Pair],
        on_acknowledged: Hook,
        on_refused: Hook = ignore_answer,
    ) -> None:
        self.connection_errors: list[OSError] = []
        self.unanswered: list[SentRequest] = []
        self.longest_wait_seconds = 0.0
        self._host, self._port = host, port
        self._requests = Requests(host, port)
        self._pairs = pairs
        self._hooks = {True: on_acknowledged, False: on_refused}
        self._stopping = False
        self._tills: list[asyncio.Task[None]] = []

    def start(self, tills: int) -> None:
        """Start `tills` more concurrent tills."""
        self._tills += [asyncio.create_task(self._serve_customers()) for _ in range(tills)]

    async def stop(self) -> None:
        """Send no further requests; wait for responses in flight."""
        self._stopping = True
        await asyncio.gather(*self._tills)

    async def _serve_customers(self) -> None:
        for pair in self._pairs:
            if await self._request_once(Kind.SESSION, pair, self._requests.session(pair)):
                await self._request_once(Kind.EMAIL, pair, self._requests.email(pair))
            if self._stopping:
                return

    async def _request_once(self, kind: Kind, pair: Pair, request: bytes) -> bool:
        """Connect, send one request, disconnect; return whether it was acknowledged."""
        question = SentRequest(kind, pair, time.monotonic())
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            self.connection_errors.append(error)
            return False
        try:
            writer.write(request)
            response = await read_response(reader)
        finally:
            writer.close()
        if response is None:
            self.unanswered.append(question)
            return False
        return self._note(question, response)

    def _note(self, question: SentRequest, response: Response) -> bool:
        answer = question.answered(response)
        self.longest_wait_seconds = max(self.longest_wait_seconds, answer.latency_seconds)
        acknowledged = response.status == 200
        self._hooks[acknowledged](answer)
        return acknowledged
