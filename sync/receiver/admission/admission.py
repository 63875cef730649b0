"""Admit a request: memory budget > receive the body > concurrency slot > decompress.

The slot is taken only after the whole body has arrived: a slow line must not block others.
"""

from codecs import BOM_UTF8
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import hdrs, web

from sync.receiver.admission.concurrency import ConcurrencyLimiter
from sync.receiver.admission.decompress import decompress, decompressor_for
from sync.receiver.admission.load_shedding import LoadShedder, OverItsShare
from sync.receiver.admission.memory_budget import (
    MAX_REQUESTS_PER_AGENT,
    MIB,
    MemoryBudget,
    Reservation,
)
from sync.receiver.admission.rate_limit import FairTokenBucket, RateDecision
from sync.receiver.admission.receive import receive_body
from sync.receiver.auth.tokens import AgentName

# Decoded bytes per second of all senders together: decompressing and parsing are most of the work
# that a small request can cause.
DECODED_BYTES_PER_SECOND = 64 * MIB


class Admission:
    """Admission for one kind of request. `max_bytes` bounds the body also after decompression."""

    def __init__(
        self,
        budget: MemoryBudget,
        shedder: LoadShedder,
        max_bytes: int,
        now_seconds: Callable[[], float],
    ) -> None:
        self.budget = budget
        self.shedder = shedder
        self._limiter = ConcurrencyLimiter(shedder)
        self._max_bytes = max_bytes
        self._decoded = DecodedBytes(shedder, now_seconds)

    @asynccontextmanager
    async def admit(self, request: web.Request, sender: AgentName) -> AsyncIterator[bytearray]:
        """Yield the decompressed body; hold its memory and its concurrency slot until exit.

        Raises `Overloaded` if overloaded or out of memory budget, or an `HttpError`.
        """
        self._limiter.check(sender)
        self._decoded.check(sender)
        decompressor = decompressor_for(request.headers.get(hdrs.CONTENT_ENCODING, ""))
        with self.budget.reserve(sender, self.shedder.rejection) as reservation:
            body = await receive_body(request, reservation, self._max_bytes)
            async with self._limiter.slot(sender):
                with self._decoded.counted(sender, body, reservation):
                    content = await decompress(body, decompressor, reservation, self._max_bytes)
                if content.startswith(BOM_UTF8):  # no part of JSON: RFC 8259, 8.1
                    del content[: len(BOM_UTF8)]
                yield content


class DecodedBytes:
    """Limits the decoded bytes per second, with a share per sender."""

    def __init__(self, shedder: LoadShedder, now_seconds: Callable[[], float]) -> None:
        self._shedder = shedder
        self._now_seconds = now_seconds
        self._bucket = FairTokenBucket(DECODED_BYTES_PER_SECOND, now_seconds())

    def check(self, sender: AgentName) -> None:
        """Raise `Overloaded` if not even one byte of the sender would be decoded now."""
        now = self._now_seconds()
        match self._bucket.ask(sender, now):
            case RateDecision.OVER_ITS_SHARE:
                raise OverItsShare(self._bucket.wait_seconds(sender, now))
            case RateDecision.OVERLOADED:
                raise self._shedder.rejection(sender)

    @contextmanager
    def counted(
        self, sender: AgentName, body: bytearray, reservation: Reservation
    ) -> Iterator[None]:
        """Count the decoded bytes of `body`, also of one that turns out to be too large.

        No check here: a body that already arrived over a slow line must not be thrown away.
        """
        received, compressed = len(body), reservation.bytes
        try:
            yield
        finally:
            decoded = max(received, reservation.peak - compressed)
            self._bucket.take(sender, decoded, self._now_seconds())


class SenderQueue:
    """Bounds the requests with one token whose token is still being looked up."""

    def __init__(self) -> None:
        self._of_token: Counter[str] = Counter()

    @contextmanager
    def place(self, token: str) -> Iterator[None]:
        """Hold a place until exit. Raises `OverItsShare` beyond `MAX_REQUESTS_PER_AGENT`."""
        if self._of_token[token] >= MAX_REQUESTS_PER_AGENT:
            raise OverItsShare
        self._of_token[token] += 1
        try:
            yield
        finally:
            self._of_token[token] -= 1
            if not self._of_token[token]:
                del self._of_token[token]
