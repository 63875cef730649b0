"""Status, health and metrics: `/agent/v1/status`, `/`, `/healthz`, `/readyz`, `/metrics`."""

import asyncio
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from aiohttp import web
from prometheus_client.core import Metric

from agent.api.context import CONTEXT, Context
from agent.api.delivery import SyncReport, sync_metrics, sync_report
from agent.api.metrics import gauge, store_metrics
from agent.api.responses import Count, Operation, Time, timestamp
from agent.api.status_page import status_page
from agent.store.db.epochs import NEW_FILE
from agent.store.db.lost_captures import LostCaptures
from agent.store.files.storage_errors import (
    StorageDamagedError,
    StorageDownError,
    StorageError,
    StorageFullError,
    storage_error_from,
)
from agent.store.queries import StorageStatus
from sync.runtime.http_server import json_response

CHECK_TIMEOUT_SECONDS = 2.0
_DAY_US = 24 * 3600 * 1_000_000
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the store: `error` is None if captures can be recorded; `store` if readable."""

    error: StorageError | None
    store: StorageStatus | None


class CopyReport(TypedDict):
    """A copy of the database made before a migration; it goes once its captures are delivered."""

    name: str
    madeAt: Time


class EarlyPurgeReport(TypedDict):
    """Delivered captures that go ahead of their retention, because `limit` is reached."""

    at: Time
    keptDays: float
    deliveredDays: float
    limit: str


class SalvageReport(TypedDict):
    """Salvage of quarantined databases: files not read to the end, captures fed in, unreadable."""

    pending: Count
    salvaged: Count
    unreadable: Count


class StorageReport(TypedDict):
    """The `storage` member of the status; `reason` says why the state is not `ready`."""

    state: Literal["ready", "full", "down"]
    reason: NotRequired[str]
    directory: str
    databaseBytes: Count | None
    freeBytes: Count | None
    setAside: list[str]
    salvage: SalvageReport | None
    copies: list[CopyReport]
    earlyPurge: EarlyPurgeReport | None
    damagedRows: Count | None


class CentralReport(TypedDict):
    """The `central` member of the status."""

    url: str
    protocol: str


class TermsRefusedReport(TypedDict):
    """Program terms from head office that are not used: the field at fault, and why."""

    field: str
    reason: str


class TermsNotFetchedReport(TypedDict):
    """Program terms that head office does not send: since when (null: never), and the cause."""

    since: Time | None
    reason: str


class LostReport(TypedDict):
    """Captures acknowledged to tills that this machine does not hold any more.

    `isCertain`: head office has answered that it lacks them, and no file set aside may hold them.
    """

    epoch: str
    firstSequence: Count
    lastSequence: Count
    isCertain: bool
    noticedAt: Time
    reason: str


class NewEpochReport(TypedDict):
    """A new epoch that began within the retention, and why, unless it is that of a new machine."""

    beganAt: Time
    reason: str


class StatusReport(TypedDict):
    """State of the agent; values that cannot be read now are null.

    `portTakenAt` is the loopback address that another program holds at the agent's port;
    `nameSharedSince` when head office first heard another machine under this store and till id.
    """

    version: str
    storeId: str
    tillId: str
    startedAt: Time
    epoch: str | None
    lastSequence: Count | None
    watermark: Count | None
    waiting: Count | None
    oldestWaitingAt: Time | None
    deadLetters: Count | None
    storage: StorageReport
    central: CentralReport
    sync: SyncReport
    termsRefused: TermsRefusedReport | None
    termsNotFetched: TermsNotFetchedReport | None
    lost: list[LostReport]
    newEpoch: NewEpochReport | None
    nameSharedSince: Time | None
    portTakenAt: str | None


class HealthReport(TypedDict):
    """The 200 of the health endpoints."""

    status: Literal["alive", "ready"]


@Operation(StatusReport)
async def show_status(request: web.Request) -> web.Response:
    """Return the status as JSON."""
    return json_response(await _status(request.app[CONTEXT]))


@Operation("text/html")
async def show_page(request: web.Request) -> web.Response:
    """Return the status as an HTML page for store IT."""
    page, policy = status_page(await _status(request.app[CONTEXT]))
    return web.Response(
        text=page, content_type="text/html", headers={"Content-Security-Policy": policy}
    )


@Operation("text/plain")
async def show_metrics(request: web.Request) -> web.Response:
    """Return the metrics in the Prometheus text format."""
    context = request.app[CONTEXT]
    families = _metrics(context, await read_health(context), context.now().wall_us)
    body = context.metrics.render([*families, *sync_metrics(context.delivery)])
    return web.Response(body=body, headers={"Content-Type": _METRICS_TYPE})


@Operation(HealthReport, needs_token=False)
async def is_alive(_: web.Request) -> web.Response:
    """Return 200: liveness, the process serves requests."""
    return json_response(HealthReport(status="alive"))


@Operation(HealthReport, ("503",), needs_token=False)
async def is_ready(request: web.Request) -> web.Response:
    """Return 200 if captures can be recorded now, else 503; independent of central."""
    try:
        await request.app[CONTEXT].writer.check(CHECK_TIMEOUT_SECONDS)
    except StorageFullError as full:
        # 507 is the answer to a rejected capture; readiness probes expect 503.
        raise StorageDownError(str(full)) from full
    return json_response(HealthReport(status="ready"))


async def read_health(context: Context) -> Health:
    """Check the writer thread and read the database file."""
    error: StorageError | None = None
    try:
        await context.writer.check(CHECK_TIMEOUT_SECONDS)
    except StorageError as found:
        error = found
    try:
        store = await _read_store(context)
    except (sqlite3.Error, OSError, IndexError, StorageError):
        store = None
    return Health(error, store)


async def _read_store(context: Context) -> StorageStatus:
    """Read the store beside the writer; on its connection, which quarantines it, if damaged."""
    try:
        return await asyncio.to_thread(context.reader.status)
    except sqlite3.DatabaseError as error:
        directory = Path(context.identity.storage_directory)
        if not isinstance(storage_error_from(error, directory), StorageDamagedError):
            raise
        return await context.writer.run(lambda store: store.run(context.reader.status_on))


async def _status(context: Context) -> StatusReport:
    health = await read_health(context)
    identity, store = context.identity, health.store
    oldest_us = store.oldest_waiting_at_us if store else None
    return {
        "version": identity.version,
        "storeId": identity.store_id,
        "tillId": identity.till_id,
        "startedAt": timestamp(identity.started_at_us),
        "epoch": store.current.epoch if store else None,
        "lastSequence": store.current.last_sequence if store else None,
        "watermark": store.current.settled_through if store else None,
        "waiting": store.waiting if store else None,
        "oldestWaitingAt": _time_or_none(oldest_us),
        "deadLetters": store.dead_letters if store else None,
        "storage": _storage(context, health),
        "central": {"url": identity.central_url, "protocol": identity.central_protocol},
        "sync": sync_report(context),
        "termsRefused": _terms_refused(context),
        "termsNotFetched": _terms_not_fetched(context),
        "lost": [_lost(one) for one in (store.lost if store else []) if one.count],
        "newEpoch": _new_epoch(context, store),
        "nameSharedSince": _time_or_none(context.name_shared_since_us()),
        "portTakenAt": context.other_loopback.taken_by_another,
    }


def _time_or_none(time_us: int | None) -> str | None:
    return None if time_us is None else timestamp(time_us)


def _terms_refused(context: Context) -> TermsRefusedReport | None:
    fault = context.terms_refused()
    return None if fault is None else {"field": fault.field, "reason": fault.reason}


def _terms_not_fetched(context: Context) -> TermsNotFetchedReport | None:
    missed = context.terms_not_fetched()
    if missed is None:
        return None
    since = None if missed.since_us is None else timestamp(missed.since_us)
    return {"since": since, "reason": missed.reason}


def _lost(lost: LostCaptures) -> LostReport:
    return {
        "epoch": lost.epoch,
        "firstSequence": lost.first,
        "lastSequence": lost.lost_through,
        "isCertain": not lost.is_open,
        "noticedAt": timestamp(lost.noticed_at_us),
        "reason": lost.reason,
    }


def _new_epoch(context: Context, store: StorageStatus | None) -> NewEpochReport | None:
    began = store.new_epoch if store else None
    if began is None or began.reason == NEW_FILE or not _is_recent(context, began.began_at_us):
        return None
    return {"beganAt": timestamp(began.began_at_us), "reason": began.reason}


def _storage(context: Context, health: Health) -> StorageReport:
    error, store = health.error, health.store
    report: StorageReport = {
        "state": "ready",
        "directory": context.identity.storage_directory,
        "databaseBytes": store.database_bytes if store else None,
        "freeBytes": store.free_bytes if store else None,
        "setAside": store.quarantined if store else [],
        "salvage": _salvage(store),
        "copies": [
            {"name": copy.path.name, "madeAt": timestamp(copy.made_at_us)}
            for copy in (store.copies if store else [])
        ],
        "earlyPurge": _early_purge(context, store),
        "damagedRows": store.damaged_rows if store else None,
    }
    if error is not None:
        report["state"] = "full" if isinstance(error, StorageFullError) else "down"
        report["reason"] = str(error)
    return report


def _salvage(store: StorageStatus | None) -> SalvageReport | None:
    if store is None:
        return None
    found = store.salvage
    return {
        "pending": found.pending,
        "salvaged": found.salvaged,
        "unreadable": found.unreadable,
    }


def _early_purge(context: Context, store: StorageStatus | None) -> EarlyPurgeReport | None:
    """Return the last early purge, as long as captures of its time are missing for it."""
    found, days = store.early_purge if store else None, context.identity.delivered_days
    if found is None or not _is_recent(context, found.at_us):
        return None
    return {
        "at": timestamp(found.at_us),
        "keptDays": round(found.kept_us / _DAY_US, 1),
        "deliveredDays": days,
        "limit": found.limit,
    }


def _is_recent(context: Context, at_us: int) -> bool:
    """Return whether delivered captures of that time are still kept."""
    return at_us + context.identity.delivered_days * _DAY_US >= context.now().wall_us


def _metrics(context: Context, health: Health, now_us: int) -> list[Metric]:
    families: list[Metric] = [
        gauge("ready", "1 if captures can be recorded", health.error is None),
        gauge("queue_depth", "Requests in the writer's queue", context.writer.queued),
        gauge(
            "terms_refused",
            "1 while program terms from head office are not used: they are out of their bounds",
            context.terms_refused() is not None,
        ),
        gauge(
            "terms_not_fetched",
            "1 while head office has not sent its program terms for a day, or never",
            context.terms_not_fetched() is not None,
        ),
        gauge(
            "name_shared",
            "1 while head office hears another machine under this store and till id",
            context.name_shared_since_us() is not None,
        ),
    ]
    if (store := health.store) is None:
        return families
    early = _early_purge(context, store) is not None
    return [*families, *store_metrics(store, now_us, is_purged_early=early)]
