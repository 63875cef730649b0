"""In-memory head office with the real rules of admission and acceptance, at a fixed cost."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
import zstandard

from sync.delivery.transports.http_client import HttpResponse
from sync.protocol.wire import BatchAccepted
from sync.receiver.admission.concurrency import ConcurrencyLimiter
from sync.receiver.admission.load_shedding import LoadShedder, Overloaded
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.receiver.errors import to_http_error
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.parse import parse_batch
from sync.runtime.network.http_errors import error_response
from tests.fleet.account import Account
from tests.support.models.ledger import ReferenceLedger

MAX_IN_FLIGHT = 16
COMMIT_SECONDS = 0.004
_JSON = {"Content-Type": "application/json"}
_AT = datetime(2026, 1, 1, tzinfo=UTC)


class HeadOffice:
    """Handles batches in the same order as `sync.receiver.agent_api`."""

    def __init__(self, events_per_second: int, account: Account) -> None:
        self._shedder = LoadShedder(
            MAX_IN_FLIGHT, events_per_second, asyncio.get_running_loop().time
        )
        self._limiter = ConcurrencyLimiter(self._shedder)
        self._account = account
        self.ledgers: defaultdict[str, ReferenceLedger] = defaultdict(ReferenceLedger)

    async def take(self, store_id: str, body: bytes) -> HttpResponse:
        """Answer a batch once it is committed."""
        self._account.arrived(store_id)
        try:
            sender = AgentName(store_id, "till")  # authentication is not simulated
            self._limiter.check(sender)
            async with self._limiter.slot(sender):
                return await self._take(sender, body)
        except Overloaded as busy:
            self._account.rejected(store_id, busy.retry_after_seconds)
            return _overloaded(busy)

    async def _take(self, sender: AgentName, body: bytes) -> HttpResponse:
        inbound = parse_batch(zstandard.decompress(body), EnrolledAgent(sender, _AT), _AT)
        batch, events = inbound.batch, inbound.events
        with self._shedder.admitted_events(sender, len(events)):
            await asyncio.sleep(COMMIT_SECONDS)
        key = (batch.till_id, batch.epoch)
        taken = self.ledgers[batch.store_id].take(key, events, batch.base_sequence)
        assert isinstance(taken, AcceptedBatch), "a number was left out"
        self._account.accepted(len(events))
        accepted = BatchAccepted(accepted_through=taken.accepted_through, rejected=taken.rejections)
        return HttpResponse(HTTPStatus.OK, _JSON, msgspec.json.encode(accepted))


def _overloaded(busy: Overloaded) -> HttpResponse:
    response = error_response(to_http_error(busy))
    assert isinstance(response.body, bytes)
    return HttpResponse(response.status, response.headers, response.body)
