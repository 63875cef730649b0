"""A head office on a real socket, for tests of whatever delivers to it.

    central = ScriptedCentral()
    await central.start()                    # or: async with ScriptedCentral() as central
    central.then(faults.answer_lost)         # the next request meets it; one fault a request
    central.weather = lambda request: ...    # every request for which nothing is scripted
    central.refuse("some-correlation-id")    # as a record: everything else is taken
    await central.stop()                     # the line is cut; what it has it keeps
    await central.start()                    # again, on the same port
    central.ledger.records                   # what it has, in the order of arrival

It speaks `batch` (batches, heartbeats, program), the loyalty API, and OAuth 2.0 client
credentials at `/oauth/token`, all under one `url`, and does what it should by default.
"""

import asyncio
import copy
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import msgspec
from aiohttp import web

from sync.wire import (
    BATCHES_PATH,
    HEARTBEATS_PATH,
    PROGRAM_PATH,
    ErrorCode,
    EventType,
    Heartbeat,
    Program,
)
from tests.central import batches, loyalty
from tests.central.faults import Answer, Fault, Lost, end, error
from tests.central.ledger import Ledger, Refusal
from tests.central.terms import PROGRAM

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came; `path` percent-encoded, `connection` the client's port."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    connection: int = 0

    @property
    def encoding(self) -> str:
        """How the body is compressed; empty for not at all."""
        return self.headers.get("Content-Encoding", "")


class ScriptedCentral:
    """The scripted head office. All attributes may be set at any time.

    `max_body_bytes`: a larger body is a 413. `credentials`: the values of `Authorization`
    that it takes, None for any; tokens it grants are added. `conflicts`: the loyalty API
    answers a repeat with 409. `refuses_whole_batches`: a batch with a refused record is
    refused as a whole (422). `requests` are all that came, faulty or not.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.ledger = Ledger()
        self.weather: Callable[[Request], Fault | None] = lambda _: None
        self.max_body_bytes: int | None = None
        self.credentials: set[str] | None = None
        self.conflicts = False
        self.refuses_whole_batches = False
        self.program: Program = PROGRAM
        self.token_seconds = 3_600
        self.tokens_granted = 0
        self.requests: list[Request] = []
        self.heartbeats: list[Heartbeat] = []
        self._refusals: dict[tuple[EventType | None, str], Refusal] = {}
        self._script: deque[tuple[str, Fault]] = deque()
        self._came = asyncio.Condition()
        self._tls = tls
        self._port = 0
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, or listened."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen; after a stop on the port of before."""
        # What is compressed is read here and by no library: zstd depends on the Python.
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self._port, ssl_context=self._tls, reuse_address=True
        )
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Cut the line, requests under way included. Twice is harmless."""
        runner, self._runner = self._runner, None
        if runner is None or runner.server is None:
            return
        for connection in list(runner.server.connections):
            connection.force_close()
        await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def then(self, *faults: Fault, on: str = "") -> None:
        """Let the next requests, of a path that begins with `on`, meet these faults in turn."""
        self._script.extend((on, fault) for fault in faults)

    def forget_script(self) -> None:
        """Let no request meet a fault that none has met yet."""
        self._script.clear()

    def refuse(
        self,
        correlation_id: str,
        kind: EventType | None = None,
        code: str = ErrorCode.INVALID_REQUEST,
        message: str = "Invalid Correlation ID",
    ) -> None:
        """Refuse records with this id from now on, of one kind or of both."""
        self._refusals[kind, correlation_id] = Refusal(code, message)

    def relent(self) -> None:
        """Refuse no record any more."""
        self._refusals.clear()

    def backup(self) -> Ledger:
        """Return a copy of all it has; assign it to `ledger` to restore it."""
        return copy.deepcopy(self.ledger)

    async def came(self, count: int) -> None:
        """Wait until so many requests have come since it was made."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.requests) >= count)

    async def _handle(self, raw: web.BaseRequest) -> web.StreamResponse:
        request = Request(
            raw.method,
            raw.rel_url.raw_path,
            dict(raw.query),
            raw.headers,
            await raw.content.read(),
            _client_port(raw),
        )
        answer = await self.answer(request)
        assert raw.transport is not None
        if isinstance(answer, Lost):
            end(raw.transport, reset=answer.reset)
            return web.Response()
        if answer.cut_after is not None:
            return await _cut(raw, answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def answer(self, request: Request) -> Answer | Lost:
        """Answer a request, or not, by whatever way it came."""
        self.requests.append(request)
        async with self._came:
            self._came.notify_all()

        async def serve() -> Answer:
            return self._serve(request)

        fault = self._scripted(request) or self.weather(request)
        return await (fault(serve) if fault else serve())

    def _scripted(self, request: Request) -> Fault | None:
        for index, (prefix, fault) in enumerate(self._script):
            if request.path.startswith(prefix):
                del self._script[index]
                return fault
        return None

    def _serve(self, request: Request) -> Answer:
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
                heartbeat, answer = batches.take_heartbeat(self.ledger, request.body)
                self.heartbeats.append(heartbeat)
                return answer
            case "GET", path if path == PROGRAM_PATH:
                return batches.tell_program(self.program, request.headers.get("If-None-Match"))
        record = loyalty.record_of(
            request.method, request.path, request.query.get("locale"), request.body
        )
        if record is None:
            return error(404, ErrorCode.NOT_FOUND, "no such path")
        return loyalty.take(self.ledger, record, self._refusal, conflicts=self.conflicts)

    def _batch(self, request: Request) -> Answer:
        batch = batches.read_batch(request.body, request.encoding)
        if self.refuses_whole_batches:
            for event in batch.events:
                for (_, correlation_id), refusal in self._refusals.items():
                    if event.correlation_id == correlation_id and event.type in set(EventType):
                        return error(422, refusal.code, refusal.message)
        return batches.take_batch(self.ledger, batch, self._refusal)

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


def _client_port(raw: web.BaseRequest) -> int:
    name = raw.transport.get_extra_info("peername") if raw.transport else None
    return int(name[1]) if name else 0


async def _cut(raw: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(raw)
    await response.write(answer.body[: answer.cut_after])
    assert raw.transport is not None
    raw.transport.close()
    return response
