"""State of the agent as status JSON and as gauges."""

import asyncio
import sqlite3
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from agent.api.context import Context
from agent.api.delivery import SyncReport, sync_gauges, write_sync
from agent.store.files.storage_errors import StorageError, StorageFullError
from agent.store.queries import StoreStatus
from sync.protocol.rfc3339 import us_to_rfc3339

CHECK_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the store: `trouble` is None if captures can be recorded; `store` if readable."""

    trouble: StorageError | None
    store: StoreStatus | None


class StorageReport(TypedDict):
    """The `storage` member of the status."""

    state: str
    reason: NotRequired[str]
    directory: str
    databaseBytes: int | None
    freeBytes: int | None
    setAside: list[str]


class StatusReport(TypedDict):
    """JSON of `GET /agent/v1/status`; values that cannot be read now are null."""

    version: str
    storeId: str
    tillId: str
    startedAt: str
    epoch: str | None
    lastSequence: int | None
    watermark: int | None
    waiting: int | None
    oldestWaitingAt: str | None
    deadLetters: int | None
    storage: StorageReport
    central: dict[str, str]
    sync: SyncReport


async def read_health(context: Context) -> Health:
    """Check the writer thread and read the database file."""
    trouble: StorageError | None = None
    try:
        await context.writer.check(CHECK_TIMEOUT_SECONDS)
    except StorageError as found:
        trouble = found
    try:
        store = await asyncio.to_thread(context.reader.status)
    except (sqlite3.Error, OSError, IndexError):
        store = None
    return Health(trouble, store)


def write_status(context: Context, health: Health) -> StatusReport:
    """Return the JSON of `GET /agent/v1/status`."""
    identity, store = context.identity, health.store
    return {
        "version": identity.version,
        "storeId": identity.store_id,
        "tillId": identity.till_id,
        "startedAt": us_to_rfc3339(identity.started_at_us, "milliseconds"),
        "epoch": store.current.epoch if store else None,
        "lastSequence": store.current.last_sequence if store else None,
        "watermark": store.current.settled_through if store else None,
        "waiting": store.waiting if store else None,
        "oldestWaitingAt": us_to_rfc3339(store.oldest_waiting_at_us, "milliseconds")
        if store and store.oldest_waiting_at_us is not None
        else None,
        "deadLetters": store.dead_letters if store else None,
        "storage": _storage(context, health),
        "central": {"url": identity.central_url, "protocol": identity.central_protocol},
        "sync": write_sync(context),
    }


def write_gauges(context: Context, health: Health, now_us: int) -> list[tuple[str, str, float]]:
    """Return the state as gauges: name, help, value."""
    gauges = [
        ("ready", "1 when captures can be taken", float(health.trouble is None)),
        ("queue_depth", "Requests that wait for the writer", context.writer.queued),
    ]
    if (store := health.store) is not None:
        oldest_us = store.oldest_waiting_at_us
        gauges += [
            (
                "last_sequence",
                "Sequence of the last capture in the epoch",
                store.current.last_sequence,
            ),
            ("waiting_events", "Events that central has not settled", store.waiting),
            (
                "oldest_waiting_seconds",
                "Age of the oldest such event; 0 when none waits",
                0.0 if oldest_us is None else (now_us - oldest_us) / 1e6,
            ),
            ("dead_letters", "Events that central refused for good", store.dead_letters),
            ("database_bytes", "Size of the database and its WAL", store.database_bytes),
            ("free_bytes", "Free space on the disk of the database", store.free_bytes),
            ("databases_set_aside", "Damaged databases kept beside", len(store.quarantined)),
        ]
    gauges += sync_gauges(context.delivery)
    return [(f"loyalty_agent_{name}", text, value) for name, text, value in gauges]


def _storage(context: Context, health: Health) -> StorageReport:
    store = health.store
    report: StorageReport = {
        "state": _state(health.trouble),
        "directory": context.identity.storage_directory,
        "databaseBytes": store.database_bytes if store else None,
        "freeBytes": store.free_bytes if store else None,
        "setAside": store.quarantined if store else [],
    }
    if health.trouble is not None:
        report["reason"] = str(health.trouble)
    return report


def _state(trouble: StorageError | None) -> str:
    if trouble is None:
        return "ready"
    return "full" if isinstance(trouble, StorageFullError) else "down"
