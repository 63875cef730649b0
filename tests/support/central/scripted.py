"""A scripted head office on a real socket, for tests of clients that deliver to it.

    central = ScriptedCentral()
    await central.start()                    # or: async with ScriptedCentral() as central
    central.then(faults.answer_lost)         # one fault for the next request
    central.default_fault = lambda request: ...  # of every request that has no scripted one
    central.refuse("some-correlation-id")    # reject this record; all others are accepted
    await central.stop()                     # connections are cut; the ledger is kept
    await central.start()                    # again, on the same port
    central.ledger.records                   # accepted records, in order of arrival

It speaks `batch` (batches, heartbeats, program), the loyalty API, and OAuth 2.0 client
credentials at `/oauth/token`, all under one `url`. Without scripted faults it behaves correctly.
"""

import copy
import ssl

import msgspec

from sync.protocol.wire import (
    BATCHES_PATH,
    HEARTBEATS_PATH,
    PROGRAM_PATH,
    ErrorCode,
    EventType,
    Heartbeat,
)
from tests.support.central import batch_protocol, loyalty_api
from tests.support.central.fault_server import FaultServer, Request
from tests.support.central.faults import Answer, error
from tests.support.central.ledger import Ledger, Refusal
from tests.support.central.terms import PROGRAM

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path


class ScriptedCentral(FaultServer):
    """Scripted head office. All attributes may be set at any time.

    `max_body_bytes`: a larger body is answered with 413. `credentials`: accepted values of
    `Authorization`, None for any; granted tokens are added. `conflicts`: the loyalty API
    answers a repeat with 409. `refuses_whole_batches`: one refused record fails the whole
    batch (422).
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.ledger = Ledger()
        self.max_body_bytes: int | None = None
        self.credentials: set[str] | None = None
        self.conflicts = False
        self.refuses_whole_batches = False
        self.program = PROGRAM
        self.token_seconds = 3_600
        self.tokens_granted = 0
        self.heartbeats: list[Heartbeat] = []
        self._refusals: dict[tuple[EventType | None, str], Refusal] = {}

    def refuse(
        self,
        correlation_id: str,
        kind: EventType | None = None,
        code: str = ErrorCode.INVALID_REQUEST,
        message: str = "Invalid Correlation ID",
    ) -> None:
        """Refuse records with this id from now on, of one event type or of both."""
        self._refusals[kind, correlation_id] = Refusal(code, message)

    def accept_all(self) -> None:
        """Stop refusing records."""
        self._refusals.clear()

    def backup(self) -> Ledger:
        """Return a deep copy of the ledger; assign it to `ledger` to restore it."""
        return copy.deepcopy(self.ledger)

    async def serve(self, request: Request) -> Answer:
        """Answer as a correct head office does."""
        if request.path == TOKEN_PATH:
            return self._grant()
        known = request.headers.get("Authorization", "")
        if self.credentials is not None and known not in self.credentials:
            return error(401, ErrorCode.UNAUTHORIZED, "unknown token")
        if self.max_body_bytes is not None and len(request.body) > self.max_body_bytes:
            return error(413, ErrorCode.PAYLOAD_TOO_LARGE, "too large")
        try:
            return self._route(request)
        except (ValueError, LookupError, TypeError, msgspec.MsgspecError):
            return error(400, ErrorCode.INVALID_REQUEST, "not a request of this protocol")

    def _route(self, request: Request) -> Answer:
        match request.method, request.path:
            case "POST", path if path == BATCHES_PATH:
                return self._batch(request)
            case "POST", path if path == HEARTBEATS_PATH:
                heartbeat, answer = batch_protocol.accept_heartbeat(self.ledger, request.body)
                self.heartbeats.append(heartbeat)
                return answer
            case "GET", path if path == PROGRAM_PATH:
                known_etag = request.headers.get("If-None-Match")
                return batch_protocol.answer_program(self.program, known_etag)
        record = loyalty_api.record_of(
            request.method, request.path, request.query.get("locale"), request.body
        )
        if record is None:
            return error(404, ErrorCode.NOT_FOUND, "no such path")
        return loyalty_api.accept(self.ledger, record, self._refusal, conflicts=self.conflicts)

    def _batch(self, request: Request) -> Answer:
        batch = batch_protocol.read_batch(request.body, request.encoding)
        if self.refuses_whole_batches:
            for event in batch.events:
                for (_, correlation_id), refusal in self._refusals.items():
                    if event.correlation_id == correlation_id and event.type in set(EventType):
                        return error(422, refusal.code, refusal.message)
        return batch_protocol.accept_batch(self.ledger, batch, self._refusal)

    def _refusal(self, kind: EventType, correlation_id: str) -> Refusal | None:
        of_both = self._refusals.get((None, correlation_id))
        return self._refusals.get((kind, correlation_id), of_both)

    def _grant(self) -> Answer:
        self.tokens_granted += 1
        token = f"token-{self.tokens_granted}"
        if self.credentials is not None:
            self.credentials.add(f"Bearer {token}")
        return Answer.of(
            200,
            {"access_token": token, "token_type": "Bearer", "expires_in": self.token_seconds},
        )
