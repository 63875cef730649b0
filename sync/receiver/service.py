"""Composition root: builds the parts, starts them in order, stops them in reverse.

With `app` the only module that knows clocks, randomness and concrete classes.
"""

import logging
import os
import secrets
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.admission.memory_budget import MemoryBudget
from sync.receiver.app import agent_api, build_app, join_api, reader_access
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.join_codes import JoinCodes
from sync.receiver.auth.readers import RefusedReaders
from sync.receiver.auth.readers_token import FILE_NAME, own_token, read_own_token
from sync.receiver.auth.sign_in_link import SignInLink, local_url
from sync.receiver.boundary import ReceiverBoundary
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.health.readiness import Readiness
from sync.receiver.db.open import open_database
from sync.receiver.request_log import RequestLog
from sync.receiver.retention.old_copies import deleting_old_copies
from sync.receiver.retention.purge import purging_daily
from sync.runtime.identity import read_boot_id
from sync.runtime.logging import log_event
from sync.runtime.network.connections import HEAD_SECONDS, ConnectionLimits
from sync.runtime.network.descriptors import connections_within_limit
from sync.runtime.network.http_server import HttpServer
from sync.runtime.process import RunningService, explain_os_error, run_service
from sync.runtime.refusal_log import RefusalLog
from sync.runtime.retention_clock import CLOCK_FILE, RetentionClock, microseconds_since_boot
from sync.runtime.settings.files_in_use import FilesInUse
from sync.runtime.start import Start

_log = logging.getLogger(__name__)
# SIGTERM must end the process within 5 s: open requests get this long, then they are cut off. A
# running commit is finished, and a locked database delays that by up to a second.
ANSWER_SECONDS = 2.0
SWITCH_SECONDS = 0.0005
# An agent sends a heartbeat each minute and keeps its connection from one to the next.
IDLE_SECONDS = 120.0
MOST_CONNECTIONS = 8_192
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
    files = FilesInUse()
    tls = files.serving_tls(address.tls_cert_file, address.tls_key_file, "server.tls_cert_file")
    token = files.secret(settings.access.admin_token_file, "access.admin_token_file")
    async with AsyncExitStack() as parts:
        database = await parts.enter_async_context(open_database(settings))
        readiness = Readiness(database, time.monotonic)
        parts.push_async_callback(readiness.close)
        clock, days = _retention_clock(settings, now), settings.retention.days
        await parts.enter_async_context(purging_daily(days, database, now, clock))
        file = None if settings.is_on_postgresql else settings.database_path
        await parts.enter_async_context(deleting_old_copies(file, clock.utc))
        agents = agent_api(settings, database, now)
        refused = RefusedReaders(*(RefusalLog(_log, event) for event in _REFUSED_READERS))
        joins = join_api(settings, database, now)
        for log in (agents.refused, joins.refused, refused):
            parts.callback(log.close)
        token = token or _own_token(settings, files)
        link = SignInLink(secrets.token_urlsafe(), time.monotonic) if show_link and token else None
        readers = reader_access(settings, token, database, link, refused, now)
        app = build_app(
            agents, joins, readers, database, readiness, now, settings.server.tls_cert_file
        )
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
            reload=files.reload,
        )


def _retention_clock(settings: ReceiverSettings, now: Callable[[], datetime]) -> RetentionClock:
    boot_id = read_boot_id(os.environ) or secrets.token_urlsafe()

    def clocks() -> tuple[int, int]:
        return round(now().timestamp() * 1_000_000), microseconds_since_boot()

    return RetentionClock(settings.storage.directory / CLOCK_FILE, boot_id, clocks)


async def _serve(
    settings: ReceiverSettings,
    tls: Callable[[], ssl.SSLContext] | None,
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


def _own_token(settings: ReceiverSettings, files: FilesInUse) -> Callable[[], str] | None:
    """Return the token in the storage directory; None if the settings open another way to read."""
    if settings.access.open_on_loopback or settings.access.trusted_proxy_header:
        return None
    directory = settings.storage.directory
    own_token(directory, secrets.token_urlsafe)
    # The path, never the token: reading the file is the permission to read the pages.
    log_event(_log, logging.INFO, "hq.readers_token", file=str(directory / FILE_NAME))
    return files.load((directory / FILE_NAME,), partial(read_own_token, directory))


def _explained(error: Exception, settings: ReceiverSettings) -> str:
    if isinstance(error, OSError) and not isinstance(error, DatabaseUnavailableError):
        server = settings.server
        return explain_os_error(error, f"{server.host}:{server.port}", "server")
    reason = getattr(error, "orig", None) or error
    return f"{settings.database_name}: the database cannot be used ({reason})"
