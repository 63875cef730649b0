"""Composition root of the HTTP application: its handlers, their limits, access and logs."""

import logging
import secrets
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from aiohttp import web

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
from sync.receiver.auth.sign_in_link import SignInLink
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.db.health.readiness import Readiness
from sync.receiver.db.limits import LimitedReads
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
from sync.runtime.identity import installed_version
from sync.runtime.refusal_log import RefusalLog

_log = logging.getLogger(__name__)
# However many scrape, and however often, the database is read once in this time.
_FIGURES_TTL_SECONDS = 10.0


def build_app(
    agents: AgentApi,
    joins: JoinApi,
    readers: ReaderAccess,
    database: Database,
    readiness: Readiness,
    now: Callable[[], datetime],
    certificate: Path | None,
) -> web.Application:
    """Return the application with the routes of all handlers; `certificate` is the own one."""
    version = installed_version()

    def reference() -> Reference:
        return Reference(now(), version)

    figures = TTLCache(
        lambda: read_fleet_figures(database, reference()),
        _FIGURES_TTL_SECONDS,
        time.monotonic,
    )
    if certificate is not None:
        agents.metrics.watch_certificate(certificate, now)
    app = web.Application()
    agents.add_routes(app.router)
    joins.add_routes(app.router)
    reads = LimitedReads(database)
    ReadApi(reads, readers, readiness, agents.metrics, figures, reference).add_routes(app.router)
    Pages(reads, readers, now, version, time.monotonic, certificate).add_routes(app.router)
    return app


def reader_access(
    settings: ReceiverSettings,
    token: Callable[[], str] | None,
    database: Database,
    link: SignInLink | None,
    refused: RefusedReaders,
    now: Callable[[], datetime],
) -> ReaderAccess:
    """Return the access of readers; `token` is None if the settings open another way to read."""
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


def agent_api(
    settings: ReceiverSettings, database: Database, now: Callable[[], datetime]
) -> AgentApi:
    """Return the handlers for enrolled agents."""
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


def join_api(
    settings: ReceiverSettings, database: Database, now: Callable[[], datetime]
) -> JoinApi:
    """Return the handlers for machines that join, with limits of their own."""
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
