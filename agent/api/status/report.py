"""Builds the status as JSON from the state of the store and of delivery."""

from typing import Literal, NotRequired, TypedDict

from agent.api.context import Context
from agent.api.delivery import SyncReport, sync_report
from agent.api.responses import Count, Time, timestamp
from agent.api.status.certificates import CertificateReport, certificates_report
from agent.api.status.health import Health
from agent.store.db.epochs import NEW_FILE
from agent.store.db.lost_captures import LostCaptures
from agent.store.files.storage_errors import StorageFullError
from agent.store.queries.status import StorageStatus
from agent.store.retention.delivery_times import DAY_US, RetentionWindow


class CopyReport(TypedDict):
    """Copy of the database made before a migration; deleted once its captures are delivered."""

    name: str
    madeAt: Time


class EarlyPurgeReport(TypedDict):
    """Purge of delivered captures before the end of their retention: `limit` is reached."""

    at: Time
    keptDays: float
    deliveredDays: float
    limit: str


class SalvageReport(TypedDict):
    """Salvage of quarantined databases: files to read, captures salvaged, captures unreadable."""

    pending: Count
    salvaged: Count
    unreadable: Count


class StorageReport(TypedDict):
    """The `storage` member of the status; `reason` says why the state is not `ready`.

    `setAside` lists quarantined databases; those in `setAsideKept` are salvaged and delivered, but
    not deleted: they are not readable to the end.
    """

    state: Literal["ready", "full", "down"]
    reason: NotRequired[str]
    directory: str
    databaseBytes: Count | None
    freeBytes: Count | None
    setAside: list[str]
    setAsideKept: list[str]
    salvage: SalvageReport | None
    copies: list[CopyReport]
    earlyPurge: EarlyPurgeReport | None
    damagedRows: Count | None


class CentralReport(TypedDict):
    """The `central` member of the status."""

    url: str
    protocol: str


class TermsRefusedReport(TypedDict):
    """Rejected program terms of head office: the invalid field and the reason."""

    field: str
    reason: str


class TermsNotFetchedReport(TypedDict):
    """Failed fetch of program terms: time of the last success (null: never) and the cause."""

    since: Time | None
    reason: str


class LostReport(TypedDict):
    """Captures acknowledged to tills that this machine no longer has.

    `captures`: how many of these numbers are lost; salvage brought the others back. `isCertain`:
    head office has answered that it lacks them, and no quarantined database may hold them.
    `acknowledgedAt`: when head office reported that the loss is accepted there; null until then.
    """

    epoch: str
    firstSequence: Count
    lastSequence: Count
    captures: Count
    isCertain: bool
    noticedAt: Time
    acknowledgedAt: Time | None
    reason: str


class NewEpochReport(TypedDict):
    """New epoch that began within the retention window, except the first one of a machine."""

    beganAt: Time
    reason: str


class BacklogReport(TypedDict):
    """Numbers of captured events and of those not delivered."""

    epoch: str | None
    lastSequence: Count | None
    watermark: Count | None
    waiting: Count | None
    oldestWaitingAt: Time | None
    deadLetters: Count | None
    stuck: Count | None


class ConfigurationRejectedReport(TypedDict):
    """Wrong configuration; the one in use instead has worked since `inUseSince`.

    `narrowed`: settings of the one in use that give less access, as the wrong one does.
    """

    reason: str
    inUseSince: Time
    narrowed: list[str]


class StatusReport(BacklogReport):
    """State of the agent; values that cannot be read now are null.

    `portTakenAt` is the loopback address that another program holds at the agent's port;
    `nameSharedSince` when head office first heard another machine under this store and till id.
    """

    version: str
    storeId: str
    tillId: str
    startedAt: Time
    storage: StorageReport
    central: CentralReport
    sync: SyncReport
    termsRefused: TermsRefusedReport | None
    termsNotFetched: TermsNotFetchedReport | None
    lost: list[LostReport]
    newEpoch: NewEpochReport | None
    nameSharedSince: Time | None
    portTakenAt: str | None
    configurationRejected: ConfigurationRejectedReport | None
    certificates: list[CertificateReport]


def status_report(context: Context, health: Health) -> StatusReport:
    """Return the status."""
    identity, store = context.identity, health.store
    kept = RetentionWindow(identity.delivered_days, context.now().wall_us)
    return {
        "version": identity.version,
        "storeId": identity.store_id,
        "tillId": identity.till_id,
        "startedAt": timestamp(identity.started_at_us),
        **backlog_report(store),
        "storage": _storage(context, health, kept),
        "central": {"url": identity.central_url, "protocol": identity.central_protocol},
        "sync": sync_report(context),
        "termsRefused": _terms_refused(context),
        "termsNotFetched": _terms_not_fetched(context),
        "lost": lost_report(store),
        "newEpoch": new_epoch_report(store, kept),
        "certificates": certificates_report(identity.certificates, context.now().wall_us),
        "nameSharedSince": time_or_none(context.name_shared_since_us()),
        "portTakenAt": context.other_loopback.taken_by_another,
        "configurationRejected": _configuration_rejected(context),
    }


def time_or_none(time_us: int | None) -> str | None:
    """Return a time as text; None if it is unknown."""
    return None if time_us is None else timestamp(time_us)


def backlog_report(store: StorageStatus | None) -> BacklogReport:
    """Return the numbers of captured events and of those not delivered."""
    return {
        "epoch": store.current.epoch if store else None,
        "lastSequence": store.current.last_sequence if store else None,
        "watermark": store.current.settled_through if store else None,
        "waiting": store.waiting if store else None,
        "oldestWaitingAt": time_or_none(store.oldest_waiting_at_us if store else None),
        "deadLetters": store.dead_letters if store else None,
        "stuck": store.stuck if store else None,
    }


def _configuration_rejected(context: Context) -> ConfigurationRejectedReport | None:
    rejected = context.identity.rejected_configuration
    if rejected is None:
        return None
    return {
        "reason": rejected.reason,
        "inUseSince": rejected.in_use.since,
        "narrowed": list(rejected.in_use.changed),
    }


def _terms_refused(context: Context) -> TermsRefusedReport | None:
    fault = context.terms_refused()
    return None if fault is None else {"field": fault.field, "reason": fault.reason}


def _terms_not_fetched(context: Context) -> TermsNotFetchedReport | None:
    missed = context.terms_not_fetched()
    if missed is None:
        return None
    return {"since": time_or_none(missed.since_us), "reason": missed.reason}


def lost_report(store: StorageStatus | None) -> list[LostReport]:
    """Return the lost captures by epoch."""
    return [_lost(one) for one in (store.lost if store else []) if one.count]


def _lost(lost: LostCaptures) -> LostReport:
    return {
        "epoch": lost.epoch,
        "firstSequence": lost.first,
        "lastSequence": lost.lost_through,
        "captures": lost.count,
        "isCertain": not lost.is_open,
        "noticedAt": timestamp(lost.noticed_at_us),
        "acknowledgedAt": time_or_none(lost.acknowledged_at_us),
        "reason": lost.reason,
    }


def new_epoch_report(store: StorageStatus | None, kept: RetentionWindow) -> NewEpochReport | None:
    """Return the new epoch if it began within the retention window, else None."""
    began = store.new_epoch if store else None
    if began is None or began.reason == NEW_FILE or not kept.covers(began.began_at_us):
        return None
    return {"beganAt": timestamp(began.began_at_us), "reason": began.reason}


def _storage(context: Context, health: Health, kept: RetentionWindow) -> StorageReport:
    report = storage_report(health.store, context.identity.storage_directory, kept)
    if (error := health.error) is not None:
        report["state"] = "full" if isinstance(error, StorageFullError) else "down"
        report["reason"] = str(error)
    return report


def storage_report(
    store: StorageStatus | None, directory: str, kept: RetentionWindow
) -> StorageReport:
    """Return the state of the storage of a database that can record captures."""
    return {
        "state": "ready",
        "directory": directory,
        "databaseBytes": store.database_bytes if store else None,
        "freeBytes": store.free_bytes if store else None,
        "setAside": store.quarantined if store else [],
        "setAsideKept": store.kept_quarantined if store else [],
        "salvage": _salvage(store),
        "copies": [
            {"name": copy.path.name, "madeAt": timestamp(copy.made_at_us)}
            for copy in (store.copies if store else [])
        ],
        "earlyPurge": early_purge_report(store, kept),
        "damagedRows": store.damaged_rows if store else None,
    }


def _salvage(store: StorageStatus | None) -> SalvageReport | None:
    if store is None:
        return None
    found = store.salvage
    return {
        "pending": found.pending,
        "salvaged": found.salvaged,
        "unreadable": found.unreadable,
    }


def early_purge_report(
    store: StorageStatus | None, kept: RetentionWindow
) -> EarlyPurgeReport | None:
    """Return the last early purge if it was within the retention window, else None."""
    found = store.early_purge if store else None
    if found is None or not kept.covers(found.at_us):
        return None
    return {
        "at": timestamp(found.at_us),
        "keptDays": round(found.kept_us / DAY_US, 1),
        "deliveredDays": kept.days,
        "limit": found.limit,
    }
