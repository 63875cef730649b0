"""Composition root: builds the parts, starts them in order, stops them in reverse.

The only module that knows clocks, randomness and concrete classes.
"""

import logging
import os
import secrets
import ssl
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from sync.protocol.program_terms import published
from sync.receiver.admission.admission import Admission, SenderQueue
from sync.receiver.admission.load_shedding import LoadShedder
from sync.receiver.admission.memory_budget import MemoryBudget
from sync.receiver.admission.receive import MAX_BODY_BYTES, MAX_HEARTBEAT_BYTES
from sync.receiver.admission.tarpit import Tarpit
from sync.receiver.agent_api import AgentApi
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.guess_limiter import GuessLimiter
from sync.receiver.auth.join_codes import JoinCodes
from sync.receiver.auth.peers import Peers
from sync.receiver.auth.reader_sessions import ReaderSessions
from sync.receiver.auth.readers import GuessLimiters, ReaderAccess, ReaderRules, RefusedReaders
from sync.receiver.auth.readers_token import FILE_NAME, own_token
from sync.receiver.auth.sign_in_link import SignInLink, local_url
from sync.receiver.boundary import ReceiverBoundary
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database, DatabaseUnavailableError
from sync.receiver.db.limited_reads import LimitedReads
from sync.receiver.db.open import open_database
from sync.receiver.db.readiness import Readiness
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.join_api import (
    JOIN_MEMORY_BYTES,
    MAX_JOIN_BYTES,
    MAX_JOINS_IN_FLIGHT,
    JoinApi,
)
from sync.receiver.pages.routes import Pages
from sync.receiver.read_api import ReadApi
from sync.receiver.reports.fleet_figures import read_fleet_figures
from sync.receiver.reports.metrics import ReceiverMetrics
from sync.receiver.reports.shared_reads import TTLCache
from sync.receiver.reports.tills import Reference
from sync.receiver.request_log import RequestLog
from sync.receiver.retention.old_copies import deleting_old_copies
from sync.receiver.retention.purge import purging_daily
from sync.runtime.identity import installed_version, read_boot_id
from sync.runtime.logging import log_event
from sync.runtime.network.connections import HEAD_SECONDS, ConnectionLimits
from sync.runtime.network.descriptors import connections_within_limit
from sync.runtime.network.http_server import HttpServer
from sync.runtime.process import RunningService, explain_os_error, run_service
from sync.runtime.refusal_log import RefusalLog
from sync.runtime.retention_clock import CLOCK_FILE, RetentionClock, microseconds_since_boot
from sync.runtime.settings.secret_files import read_secret, serving_tls
from sync.runtime.start import Start

_log = logging.getLogger(__name__)
# SIGTERM must end the process within 5 s: open requests get this long, then they are cut off. A
# running commit is finished, and a locked database delays that by up to a second.
ANSWER_SECONDS = 2.0
SWITCH_SECONDS = 0.0005
# An agent sends a heartbeat each minute and keeps its connection from one to the next.
IDLE_SECONDS = 120.0
MOST_CONNECTIONS = 8_192
# However many scrape, and however often, the database is read once in this time.
_FIGURES_TTL_SECONDS = 10.0
# Until it is set, all clients have one address in logs and limits: the proxy's.
_PROXIES = "access.trusted_proxies"
_REFUSED_READERS = ("reader.sign_in_failed", "reader.token_refused")


def run_receiver(
    settings: ReceiverSettings,
    show_link: Callable[[str], None] | None = None,
    attempt: Start | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code: 0, or 1 on failure to start.

    `show_link` shows a one-time sign-in link to a person, None if there is none.
    """
    # Upper bound on the event loop's wait for the GIL while another thread decodes or stores a
    # large batch. The default of 5 ms is paid several times in each request of the others.
    sys.setswitchinterval(SWITCH_SECONDS)
    return run_service(
        "hq",
        lambda: running_receiver(settings, show_link=show_link),
        (OSError, SQLAlchemyError),
        lambda error: _explained(error, settings),
        attempt,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningReceiver(RunningService):
    """A running receiver, with its enrolment, join codes and memory budget."""

    enrolment: Enrolment
    join_codes: JoinCodes
    budget: MemoryBudget


@asynccontextmanager
async def running_receiver(
    settings: ReceiverSettings,
    *,
    now: Callable[[], datetime] | None = None,
    show_link: Callable[[str], None] | None = None,
) -> AsyncIterator[RunningReceiver]:
    """Start the database and the server; stop them in reverse order.

    All accepted requests are committed before the database closes. `now` defaults to the system
    clock; `show_link` shows a one-time sign-in link to a person, None if there is none. Raises
    `ConfigurationError` before touching anything if the certificate or the token is unusable.
    """
    now = now or partial(datetime.now, UTC)
    address = settings.server
    tls = serving_tls(address.tls_cert_file, address.tls_key_file, "server.tls_cert_file")
    token = _configured_token(settings)
    async with AsyncExitStack() as parts:
        database = await parts.enter_async_context(open_database(settings))
        readiness = Readiness(database, time.monotonic)
        parts.push_async_callback(readiness.close)
        clock, days = _retention_clock(settings, now), settings.retention.days
        await parts.enter_async_context(purging_daily(days, database, now, clock))
        file = None if settings.is_on_postgresql else settings.database_path
        await parts.enter_async_context(deleting_old_copies(file, clock.utc))
        agents = _agent_api(settings, database, now)
        refused = RefusedReaders(*(RefusalLog(_log, event) for event in _REFUSED_READERS))
        joins = _join_api(settings, database, now)
        for log in (agents.refused, joins.refused, refused):
            parts.callback(log.close)
        token = token or _own_token(settings)
        link = SignInLink(secrets.token_urlsafe(), time.monotonic) if show_link and token else None
        readers = _reader_access(settings, token, database, link, refused, now)
        app = _build_app(agents, readers, database, readiness, now)
        joins.add_routes(app.router)
        retry_after = agents.batches.shedder.outage_retry_after
        boundary = ReceiverBoundary(agents.metrics, retry_after, RequestLog(agents.peers, file))
        host, port = await _serve(settings, tls, app, boundary, parts)
        if show_link and link:
            show_link(link.url(local_url(host, port, is_https=tls is not None)))
        yield RunningReceiver(
            host=host,
            port=port,
            ping=readiness.is_responding,
            enrolment=agents.enrolment,
            join_codes=joins.codes,
            budget=agents.batches.budget,
        )


def _retention_clock(settings: ReceiverSettings, now: Callable[[], datetime]) -> RetentionClock:
    boot_id = read_boot_id(os.environ) or secrets.token_urlsafe()

    def clocks() -> tuple[int, int]:
        return round(now().timestamp() * 1_000_000), microseconds_since_boot()

    return RetentionClock(settings.storage.directory / CLOCK_FILE, boot_id, clocks)


def _build_app(
    agents: AgentApi,
    readers: ReaderAccess,
    database: Database,
    readiness: Readiness,
    now: Callable[[], datetime],
) -> web.Application:
    version = installed_version()

    def reference() -> Reference:
        return Reference(now(), version)

    figures = TTLCache(
        lambda: read_fleet_figures(database, reference()),
        _FIGURES_TTL_SECONDS,
        time.monotonic,
    )
    app = web.Application()
    agents.add_routes(app.router)
    reads = LimitedReads(database)
    ReadApi(reads, readers, readiness, agents.metrics, figures, reference).add_routes(app.router)
    Pages(reads, readers, now, version, time.monotonic).add_routes(app.router)
    return app


async def _serve(
    settings: ReceiverSettings,
    tls: ssl.SSLContext | None,
    app: web.Application,
    boundary: ReceiverBoundary,
    parts: AsyncExitStack,
) -> tuple[str, int]:
    """Listen until `parts` is closed; return host and port (the actual one for port 0)."""
    address = settings.server
    parts.callback(boundary.close)
    limits = ConnectionLimits(
        HEAD_SECONDS, IDLE_SECONDS, most=connections_within_limit(MOST_CONNECTIONS)
    )
    server = HttpServer(app, boundary, limits=limits, shutdown_seconds=ANSWER_SECONDS)
    parts.push_async_callback(server.close)
    host, port = await server.start(address.host, address.port, tls=tls)
    log_event(_log, logging.INFO, "hq.serving", host=host, port=port)
    if address.behind_proxy and not settings.access.trusted_proxies:
        log_event(_log, logging.WARNING, "hq.proxies_not_named", setting=_PROXIES)
    return host, port


def _configured_token(settings: ReceiverSettings) -> str | None:
    file = settings.access.admin_token_file
    return read_secret(file, "access.admin_token_file") if file else None


def _own_token(settings: ReceiverSettings) -> str | None:
    """Return the token in the storage directory; None if the settings open another way to read."""
    if settings.access.open_on_loopback or settings.access.trusted_proxy_header:
        return None
    directory = settings.storage.directory
    token = own_token(directory, secrets.token_urlsafe)
    # The path, never the token: the person who may read the file may read the pages.
    log_event(_log, logging.INFO, "hq.readers_token", file=str(directory / FILE_NAME))
    return token


def _reader_access(
    settings: ReceiverSettings,
    token: str | None,
    database: Database,
    link: SignInLink | None,
    refused: RefusedReaders,
    now: Callable[[], datetime],
) -> ReaderAccess:
    access = settings.access
    key = secrets.token_bytes()
    return ReaderAccess(
        ReaderRules(token, access.trusted_proxy_header, access.open_on_loopback),
        _peers(settings),
        GuessLimiters(
            form=GuessLimiter(time.monotonic, key),
            api=GuessLimiter(time.monotonic, key),
            refused=refused,
        ),
        ReaderSessions(database, token, secrets.token_urlsafe) if token else None,
        link,
        now=now,
        new_hex=lambda: uuid.uuid4().hex,
    )


def _peers(settings: ReceiverSettings) -> Peers:
    return Peers(settings.access.trusted_proxies, behind_proxy=settings.server.behind_proxy)


def _agent_api(
    settings: ReceiverSettings, database: Database, now: Callable[[], datetime]
) -> AgentApi:
    in_flight, per_second = settings.intake.max_in_flight, settings.intake.events_per_second
    batches = LoadShedder(in_flight, per_second, time.monotonic)
    heartbeats = LoadShedder(in_flight, 0, time.monotonic)
    budget = MemoryBudget()
    metrics = ReceiverMetrics(installed_version(), time.monotonic)
    metrics.watch_bodies(lambda: budget.reserved_bytes)
    return AgentApi(
        enrolment=Enrolment(database),
        batches=Admission(budget, batches, MAX_BODY_BYTES, time.monotonic),
        heartbeats=Admission(budget, heartbeats, MAX_HEARTBEAT_BYTES, time.monotonic),
        arrivals=SenderQueue(),
        tarpit=Tarpit(time.monotonic),
        ledger=Ledger(database, settings.intake.shared_session_stores),
        metrics=metrics,
        program=published(settings.program.terms()),
        peers=_peers(settings),
        refused=RefusalLog(_log, "agent.token_refused"),
        now=now,
    )


def _join_api(
    settings: ReceiverSettings, database: Database, now: Callable[[], datetime]
) -> JoinApi:
    shedder = LoadShedder(MAX_JOINS_IN_FLIGHT, 0, time.monotonic)
    budget = MemoryBudget(JOIN_MEMORY_BYTES)
    return JoinApi(
        codes=JoinCodes(database),
        admission=Admission(budget, shedder, MAX_JOIN_BYTES, time.monotonic),
        guesses=GuessLimiter(time.monotonic, secrets.token_bytes()),
        tarpit=Tarpit(time.monotonic),
        peers=_peers(settings),
        refused=RefusalLog(_log, "join.refused"),
        now=now,
    )


def _explained(error: Exception, settings: ReceiverSettings) -> str:
    if isinstance(error, OSError) and not isinstance(error, DatabaseUnavailableError):
        server = settings.server
        return explain_os_error(error, f"{server.host}:{server.port}", "server")
    reason = getattr(error, "orig", None) or error
    return f"{settings.database_name}: the database cannot be used ({reason})"
