"""Status of an agent that does not answer: from its database, read-only, without a new file."""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from agent.api.delivery import CAPTURE_ONLY
from agent.api.metrics import render
from agent.api.status.certificates import certificates_report
from agent.api.status.health_metrics import ready_metric, store_metrics
from agent.api.status.report import (
    backlog_report,
    lost_report,
    new_epoch_report,
    storage_report,
    time_or_none,
)
from agent.config import Settings
from agent.store.db.connect import DATABASE_FILE
from agent.store.db.inspection import inspect_database
from agent.store.db.wal import wal_of
from agent.store.files.lock import find_lock_holder
from agent.store.files.quarantine import has_content
from agent.store.files.shared_name_note import read_shared_note
from agent.store.files.storage_errors import StorageError
from agent.store.learned_terms import TermsFetch, read_fetch
from agent.store.queries.status import StorageStatus, read_status
from agent.store.retention.delivery_times import RetentionWindow

NOT_RUNNING, NO_ANSWER = "not running", "no answer"
_READ_SECONDS = 5.0
_INDEX_SUFFIX = "-shm"


class StoredState(NamedTuple):
    """State of the agent (`NOT_RUNNING`, `NO_ANSWER`), and its database or why it is unreadable."""

    state: str
    store: StorageStatus | None = None
    fetch: TermsFetch | None = None
    unreadable: str = ""


def read_stored_state(directory: Path) -> StoredState:
    """Read the database of `directory`."""
    is_owned = find_lock_holder(directory) is not None
    state = StoredState(NO_ANSWER if is_owned else NOT_RUNNING)
    path = directory / DATABASE_FILE
    try:
        # Not `Path.exists`: that is False for a file that this user may not see.
        path.stat()
        index = path.with_name(path.name + _INDEX_SUFFIX)
        if not is_owned and has_content(wal_of(path)) and not index.exists():
            # SQLite would create the index, as the user of this command.
            return state._replace(unreadable="its log is read when the agent starts")
        with inspect_database(directory, within_seconds=_READ_SECONDS) as connection:
            store, fetch = read_status(connection, directory), read_fetch(connection)
        return state._replace(store=store, fetch=fetch)
    except FileNotFoundError:
        return state._replace(unreadable=f"there is no database in {directory}")
    except PermissionError:
        return state._replace(unreadable=f"this user may not read {directory}")
    except (sqlite3.Error, OSError, IndexError, StorageError) as error:
        return state._replace(unreadable=f"its database cannot be read ({error})")


def offline_members(
    settings: Settings, state: StoredState, reason: str, now_us: int, version: str
) -> dict[str, object]:
    """Return the members of the status document, as far as the database has them.

    `reason` says why the agent cannot be asked.
    """
    if state.unreadable:
        reason = f"{reason}; {state.unreadable}"
    store, directory = state.store, settings.storage.directory
    kept = RetentionWindow(settings.retention.delivered_days, now_us)
    fault = state.fetch.fault if state.fetch else None
    note = read_shared_note(directory) if store else None
    return {
        "version": version,
        "storeId": settings.store.store_id,
        "tillId": settings.store.till_id,
        "startedAt": None,
        **backlog_report(store),
        "storage": storage_report(store, str(directory), kept)
        | {"state": state.state, "reason": reason},
        "central": {"url": settings.central.url, "protocol": settings.central.protocol.value},
        "sync": {"state": state.state if settings.central.url else CAPTURE_ONLY},
        "termsRefused": fault and {"field": fault.field, "reason": fault.reason},
        "termsNotFetched": None,
        "lost": lost_report(store),
        "newEpoch": new_epoch_report(store, kept),
        "nameSharedSince": time_or_none(note.since_us if note else None),
        "certificates": certificates_report(settings.own_certificates, now_us),
        "portTakenAt": None,
        "configurationRejected": None,
    }


def offline_metrics(settings: Settings, state: StoredState, now_us: int) -> bytes:
    """Return the metrics that the database has, under the names that a running agent exports."""
    families = [ready_metric(is_ready=False)]
    if state.store is not None:
        families += store_metrics(
            state.store, RetentionWindow(settings.retention.delivered_days, now_us)
        )
    return render(families)
