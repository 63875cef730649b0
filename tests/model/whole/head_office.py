"""Head office of a history: the real API for agents, ledger, retention, `forget` and audit."""

import copy
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import zstandard
from aiohttp import ETag, web
from multidict import CIMultiDict
from sqlalchemy import Connection, Table

from sync.delivery.transports.http_client import HttpResponse
from sync.protocol.program_terms import Locale, published
from sync.protocol.wire import (
    BATCHES_PATH,
    HEARTBEATS_PATH,
    Batch,
    BatchEvent,
    ErrorCode,
    Heartbeat,
)
from sync.receiver.agent_api import AgentApi
from sync.receiver.audit.audit_log import AuditLog
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.database import Database
from sync.receiver.db.tables import LedgerTable, audit_log
from sync.receiver.ingest import events
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.privacy.forget import forget_address
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports.metrics import ReceiverMetrics
from sync.receiver.retention.purge import purge
from sync.runtime.network.http_errors import HttpError, error_response
from sync.runtime.settings.program import ProgramSettings
from tests.model.whole.clocks import TrueTime
from tests.support.head_office.audit import TESTER

TERMS = ProgramSettings().terms()
OTHER_TERMS = msgspec.structs.replace(TERMS, locale=Locale.EN_CA, prompt="OTHER")
UNUSABLE_TERMS = msgspec.structs.replace(TERMS, currency="\n" * 9)
RETENTION = timedelta(days=30)
# The audit log is append-only: it is neither emptied nor restored.
TABLES = [table for table in LedgerTable.metadata.sorted_tables if table is not audit_log]
_audit_ids = itertools.count()
METRICS = ReceiverMetrics("model", lambda: 0.0)
Row = Mapping[str, Any]
Number = tuple[str, str, int]
"""(till, epoch, sequence)"""


@dataclass
class Memory:
    """What head office was told, and has purged, in the present state of its database.

    `heard`: the highest number of each epoch that a served message named. `delays`: the shortest
    time, in microseconds, that a message of a boot was on its way. `late_by`: that time when an
    event was first stored. `purged`: the requests that its retention has deleted.
    """

    heard: dict[tuple[str, str], int] = field(default_factory=dict)
    delays: dict[str, int] = field(default_factory=dict)
    late_by: dict[Number, int] = field(default_factory=dict)
    purged: set[int] = field(default_factory=set)
    forgotten: dict[Number, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Backup:
    """All rows, and what head office had heard."""

    rows: Mapping[str, list[dict[str, Any]]]
    memory: Memory
    tokens: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A request on its way: as it arrives at head office, whenever that is."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    sent_us: int


class _OpenAdmission:
    """Admits every request at once."""

    @asynccontextmanager
    async def admit(self, request: "_Request", _name: AgentName) -> AsyncIterator[bytearray]:
        yield request.body

    @property
    def shedder(self) -> "_OpenAdmission":
        return self

    @contextmanager
    def admitted_events(self, _name: AgentName, _events: int) -> Iterator[None]:
        yield

    @contextmanager
    def place(self, _token: str) -> Iterator[None]:
        yield


@dataclass
class _Request:
    headers: Mapping[str, str]
    body: bytearray
    notes: dict[object, object] = field(default_factory=dict)

    def __setitem__(self, key: object, value: object) -> None:
        self.notes[key] = value

    @property
    def if_none_match(self) -> tuple[ETag, ...]:
        tag = self.headers.get("If-None-Match")
        return () if tag is None else (ETag(tag.strip('"')),)


class HeadOffice:
    """Answers requests; its database is emptied by `reset`."""

    def __init__(self, database: Database, time: TrueTime) -> None:
        self.database, self.time = database, time
        self.memory = Memory()
        self.terms = published(TERMS)
        # Numbers of requests whose content this version of head office refuses.
        self.refused: set[int] = set()
        self.enrolment = Enrolment(database)
        self.tokens = 0

    async def reset(self) -> None:
        """Delete all rows."""
        await self.database.write(_delete_all)

    async def serve(self, sent: Sent) -> HttpResponse:
        """Return the answer to a request that arrives now."""
        body = bytearray(sent.body)
        if sent.headers.get("Content-Encoding") == "zstd":
            body = bytearray(zstandard.decompress(sent.body))
        request = cast("web.Request", _Request(CIMultiDict(sent.headers), body))
        try:
            with refusing(self.refused):
                response = await self._route(sent.path, request)
        except HttpError as error:
            response = error_response(error)
        assert isinstance(response, web.Response)
        content = response.body if isinstance(response.body, bytes) else b""
        if response.status == 200:
            self._learn(sent, bytes(body), content)
        return HttpResponse(response.status, CIMultiDict(response.headers), content)

    def publish(self, index: int) -> None:
        """Publish other program terms."""
        self.terms = published([TERMS, OTHER_TERMS, UNUSABLE_TERMS][index % 3])

    def publish_usable(self) -> None:
        """Publish usable terms if the present ones are not."""
        if self.terms == published(UNUSABLE_TERMS):
            self.terms = published(TERMS)

    async def enroll(self, name: AgentName) -> str:
        """Return a new token for an agent."""
        self.tokens += 1
        secret = f"secret-{self.tokens}".encode()
        (token,) = await self.enrolment.enroll([(name, secret)], self.time.at(), self.audit())
        return token

    async def revoke(self, name: AgentName) -> None:
        """Revoke the tokens of an agent."""
        await self.enrolment.revoke(name, self.audit())

    async def back_up(self) -> Backup:
        """Return a copy of the database."""
        return Backup(await self.database.read(_dump), copy.deepcopy(self.memory), self.tokens)

    async def restore(self, backup: Backup) -> None:
        """Replace the database by a copy of it from before."""
        await self.database.write(lambda connection: _load(connection, backup.rows))
        self.memory = copy.deepcopy(backup.memory)

    async def purge(self) -> None:
        """Delete the events past their retention."""
        before = await self.numbers()
        await purge(self.database, self.time.at() - RETENTION, self.time.at())
        self.memory.purged |= before - await self.numbers()

    async def forget(self, address: str) -> None:
        """Erase a customer's address."""
        for row in await self.rows("email_answers"):
            if row["email_address"] == address:
                number = (row["till_id"], row["epoch"], row["sequence"])
                self.memory.forgotten[number] = address
        await forget_address(self.database, Address.parse(address), self.audit())

    async def rows(self, table: str) -> Sequence[Row]:
        """Return all rows of a table."""
        return (await self.database.read(_dump))[table]

    async def numbers(self) -> set[int]:
        """Return the numbers of the requests that are stored."""
        tables = await self.database.read(_dump)
        return {number_in(row["body"]) for row in tables["sessions"] + tables["email_answers"]}

    async def all_rows(self) -> Mapping[str, list[dict[str, Any]]]:
        """Return the rows of all tables."""
        return await self.database.read(_dump)

    def audit(self) -> AuditLog:
        """Return an audit log of this history."""
        return AuditLog(TESTER, self.time.at, lambda: f"{next(_audit_ids):032x}")

    async def _route(self, path: str, request: web.Request) -> web.StreamResponse:
        api = self._api()
        if path == BATCHES_PATH:
            return await api.post_batch(request)
        if path == HEARTBEATS_PATH:
            return await api.post_heartbeat(request)
        return await api.get_program(request)

    def _api(self) -> AgentApi:
        opened = cast("Any", _OpenAdmission())
        unused = cast("Any", SimpleNamespace())
        return AgentApi(
            enrolment=self.enrolment,
            batches=opened,
            heartbeats=opened,
            arrivals=opened,
            tarpit=unused,
            ledger=Ledger(self.database),
            metrics=METRICS,
            program=self.terms,
            peers=unused,
            refused=unused,
            now=self.time.at,
        )

    def _learn(self, sent: Sent, body: bytes, answer: bytes) -> None:
        """Note what head office knows by a message that it has accepted."""
        if sent.path == BATCHES_PATH:
            batch = msgspec.json.decode(body, type=Batch)
            self._hear(batch.till_id, batch.epoch, *(one.sequence for one in batch.events))
            late_by = self._delay(batch.boot_id, sent.sent_us)
            for event in batch.events:
                number = (batch.till_id, batch.epoch, event.sequence)
                boot_id = event.boot_id or batch.boot_id
                delay = late_by if event.boot_id is None else self.memory.delays.get(boot_id)
                if delay is not None:
                    self.memory.late_by.setdefault(number, delay)
        elif sent.path == HEARTBEATS_PATH:
            heartbeat = msgspec.json.decode(body, type=Heartbeat)
            self._hear(heartbeat.till_id, heartbeat.epoch, heartbeat.last_sequence)
            for older in heartbeat.epochs:
                self._hear(heartbeat.till_id, older.epoch, older.last_sequence)
            self._delay(heartbeat.boot_id, sent.sent_us)

    def _hear(self, till_id: str, epoch: str, *numbers: int) -> None:
        known = self.memory.heard.get((till_id, epoch), 0)
        self.memory.heard[till_id, epoch] = max(known, *numbers, 0)

    def _delay(self, boot_id: str, sent_us: int) -> int:
        delay = self.time.now_us - sent_us
        least = min(delay, self.memory.delays.get(boot_id, delay))
        self.memory.delays[boot_id] = least
        return least


@contextmanager
def refusing(numbers: set[int]) -> Iterator[None]:
    """Refuse these requests as if this version did not understand their content."""
    if not numbers:
        yield
        return
    parse = events.parse_event

    def parse_or_refuse(sent: BatchEvent) -> events.Event:
        event = parse(sent)
        if isinstance(event, events.InvalidEvent) or number_in(event.body) not in numbers:
            return event
        code, why = ErrorCode.INVALID_REQUEST, "not understood"
        kind, name = sent.type, sent.correlation_id
        return events.invalid_event(sent.sequence, kind, name, code, why)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sync.receiver.ingest.parse.parse_event", parse_or_refuse)
        yield


def number_in(body: str | bytes) -> int:
    """Return the number of the request that a stored body is of."""
    return int(str(msgspec.json.decode(body)["n"]))


def _delete_all(connection: Connection) -> None:
    for table in TABLES:
        connection.execute(_DELETES[table.name])


def _dump(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    return {
        table.name: [dict(row) for row in connection.execute(_SELECTS[table.name]).mappings()]
        for table in TABLES
    }


def _load(connection: Connection, rows: Mapping[str, list[dict[str, Any]]]) -> None:
    _delete_all(connection)
    for table in TABLES:
        if rows[table.name]:
            connection.execute(table.insert(), rows[table.name])


def _select(table: Table) -> Any:  # noqa: ANN401 - a statement of any columns
    return table.select().order_by(*table.primary_key)


_SELECTS = {table.name: _select(table) for table in TABLES}
_DELETES = {table.name: table.delete() for table in TABLES}
