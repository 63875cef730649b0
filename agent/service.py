"""Composition root of the agent: creates all parts, starts and stops them in order.

With `parts.py`, the only module that knows clocks, id generators and concrete classes.
"""

import logging
import os
import random
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from agent.api.access import Access
from agent.api.context import Context
from agent.api.metrics import Metrics
from agent.api.server import FAST_PATH, TillBoundary, build_app
from agent.capture.session_answer import SessionAnswers
from agent.config import Settings
from agent.config.settings import ApiSettings
from agent.facts import HOW_TO_JOIN, Timestamp, unset_for_delivery
from agent.parts import (
    build_access,
    build_identity,
    build_opener,
    build_outbox,
    build_uplink,
    configured_terms,
    new_id,
)
from agent.store.files.lock import StorageLock, StoreInUse, storage_lock
from agent.store.open import StoreOpener
from agent.store.queries.reader import StoreReader
from agent.store.writer import Writer
from agent.uplink.scheduled_jobs import MAINTENANCE_SECONDS, StoreMaintenance
from agent.uplink.uplink import running_uplink
from sync.runtime.files.private_files import make_private_directory
from sync.runtime.identity import installed_version, read_boot_id
from sync.runtime.logging import log_event
from sync.runtime.network.connections import HEAD_SECONDS, ConnectionLimits
from sync.runtime.network.descriptors import connections_within_limit
from sync.runtime.network.http_server import HttpServer
from sync.runtime.network.loopback import OtherLoopback, addresses_of
from sync.runtime.process import RunningService, explain_os_error, run_service
from sync.runtime.scheduler import Scheduler
from sync.runtime.settings.files_in_use import FilesInUse
from sync.runtime.start import Start
from sync.runtime.systemd.restart import is_restarting
from sync.runtime.systemd.sockets import UnusableSocketError, check_exposure

_log = logging.getLogger(__name__)
# Grace period for open requests at SIGTERM; the whole stop must take less than 5 s.
ANSWER_SECONDS = 3.0
SWITCH_SECONDS = 0.0005
# A till may pause between two customers; one that was away longer connects again.
IDLE_SECONDS = 300.0
# Far more than the tills and the status pages of a store need.
MOST_CONNECTIONS = 1_024


def run_agent(settings: Settings, attempt: Start, inherited: Sequence[socket.socket] = ()) -> int:
    """Run the agent until SIGTERM or SIGINT; return exit code 0, or 1 after an error.

    `inherited` are the sockets of systemd; they stay open for another attempt.
    """
    # Upper bound on the event loop's wait for the GIL while another thread reads or settles a
    # window. The default of 5 ms would be visible in the latency of each answer to a till.
    sys.setswitchinterval(SWITCH_SECONDS)

    def start() -> AbstractAsyncContextManager[RunningService]:
        sockets = [one.dup() for one in inherited]
        return running_agent(settings, sockets=sockets, attempt=attempt)

    def explain(error: Exception) -> str:
        if isinstance(error, OSError):
            return explain_os_error(error, f"{settings.api.host}:{settings.api.port}", "api")
        return str(error)

    errors = (StoreInUse, UnusableSocketError, OSError)
    return run_service("agent", start, errors, explain, attempt)


@asynccontextmanager
async def running_agent(
    settings: Settings,
    *,
    now: Callable[[], Timestamp] | None = None,
    sockets: Sequence[socket.socket] = (),
    attempt: Start | None = None,
) -> AsyncIterator[RunningService]:
    """Start store, scheduler and server; stop them in reverse order.

    The server stops first, so that requests in progress still have a writer; the lock is released
    last, so that the next agent finds the database closed. `attempt`: the start, with a rejected
    configuration if there is one. Raises, before any file is written, `ConfigurationError` for a
    token or TLS file, `UnusableSocketError` for an inherited socket that is open to the network
    without protection, `UnsafeFileError` if another user controls the storage directory.
    """
    now = now or _now
    attempt = attempt or Start()
    api, directory = settings.api, settings.storage.directory
    files = FilesInUse()
    access = build_access(api, files, attempt.rejected)
    tls = files.serving_tls(api.tls_cert_file, api.tls_key_file, "api.tls_cert_file")
    check_exposure(sockets, protected=api.token_file is not None and tls is not None)
    async with AsyncExitStack() as stack:
        make_private_directory(directory)
        lock = stack.enter_context(storage_lock(directory))
        context = await _start_parts(settings, access, lock, now, attempt, stack)
        _log_what_is_unset(settings)
        host, port = await _serve(api, tls, context, sockets, stack)
        ping, died = context.writer.ping, context.writer.died
        yield RunningService(host=host, port=port, ping=ping, died=died, reload=files.reload)


async def _start_parts(
    settings: Settings,
    access: Access,
    lock: StorageLock,
    now: Callable[[], Timestamp],
    attempt: Start,
    stack: AsyncExitStack,
) -> Context:
    """Start writer, scheduler and delivery, to be stopped with `stack`; return them for the API."""
    metrics = Metrics(installed_version())
    boot_id = read_boot_id(os.environ) or new_id()
    opener = build_opener(settings, now, boot_id, lock)
    writer = Writer(opener, metrics.committed)
    writer.start()
    stack.push_async_callback(writer.close)
    schedule = _start_schedule(writer, opener, stack)
    outbox = build_outbox(settings, writer, now, boot_id)
    answers = SessionAnswers(configured_terms(settings))
    is_closing = partial(_is_closing, writer, attempt)
    uplink = build_uplink(settings, outbox, answers, schedule, now, boot_id, is_closing)
    return Context(
        identity=build_identity(settings, now, attempt.rejected),
        access=access,
        writer=writer,
        reader=StoreReader(settings.storage.directory),
        answers=answers,
        metrics=metrics,
        now=now,
        new_request_id=_new_request_id,
        check_email_syntax=settings.email.check_syntax,
        delivery=await stack.enter_async_context(running_uplink(uplink)),
        dead_letters=outbox.dead_letters,
        terms_refused=lambda: uplink.terms.refused,
        terms_not_fetched=lambda: uplink.terms.not_fetched,
        name_shared_since_us=lambda: uplink.shared_name.since_us,
        other_loopback=OtherLoopback(),
    )


def _log_what_is_unset(settings: Settings) -> None:
    store, url = settings.store, settings.central.url
    unset = unset_for_delivery(store.store_id, store.till_id, url)
    if not unset:
        return
    name = f"for {store.till_id} in {store.store_id}"
    event = "agent.unnamed" if url else "agent.captures_only"
    deed = "delivers" if url else "captures only,"
    log_event(_log, logging.WARNING, event, reason=f"{deed} {name}: {unset}. {HOW_TO_JOIN}")


async def _is_closing(writer: Writer, attempt: Start) -> bool:
    """Return whether a stop is in order, and no restart."""
    is_ending = not writer.died.done() and not attempt.is_to_restart
    return is_ending and not await is_restarting(os.environ)


def _start_schedule(writer: Writer, opener: StoreOpener, stack: AsyncExitStack) -> Scheduler:
    """Start the scheduler with the maintenance of the store; it is stopped with `stack`."""
    schedule = Scheduler()
    maintenance = StoreMaintenance(writer, opener.restore_companions, opener.renew_key)
    schedule.every(MAINTENANCE_SECONDS, maintenance.run_once)
    schedule.start()
    stack.callback(schedule.stop)
    return schedule


async def _serve(
    api: ApiSettings,
    tls: Callable[[], ssl.SSLContext] | None,
    context: Context,
    sockets: Sequence[socket.socket],
    stack: AsyncExitStack,
) -> tuple[str, int]:
    """Listen until `stack` is closed; return host and port (the actual one for port 0)."""
    app = build_app(context)
    limits = ConnectionLimits(
        HEAD_SECONDS, IDLE_SECONDS, most=connections_within_limit(MOST_CONNECTIONS)
    )
    boundary = TillBoundary(app)
    stack.callback(boundary.close)
    server = HttpServer(
        app,
        boundary,
        limits=limits,
        shutdown_seconds=ANSWER_SECONDS,
        wrap=app[FAST_PATH].before,
        other_loopback=context.other_loopback,
    )
    stack.push_async_callback(server.close)
    # systemd passes the sockets of several units in any order: IPv4 first.
    inherited = sorted(sockets, key=lambda given: given.family)
    host, port = await server.start(api.host, api.port, tls=tls, inherited=inherited)
    log_event(_log, logging.INFO, "agent.serving", host=host, port=port)
    if sockets and (host, port) not in [(one, api.port) for one in addresses_of(api.host)]:
        reason = "ListenStream= of the socket unit applies, not [api] host and port"
        log_event(_log, logging.WARNING, "agent.serving_elsewhere", reason=reason)
    return host, port


def _now() -> Timestamp:
    # CLOCK_BOOTTIME advances during suspend, CLOCK_MONOTONIC does not.
    return Timestamp(time.time_ns() // 1000, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)


def _new_request_id() -> str:
    """Return a UUID version 4 for the log; it need not be unpredictable."""
    digits = f"{random.getrandbits(128):032x}"  # four times faster than uuid4()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
