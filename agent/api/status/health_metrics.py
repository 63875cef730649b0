"""Metrics read at each scrape: health, program terms, the figures of the database."""

from collections.abc import Sequence
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from agent.api.context import Context
from agent.api.metrics import counter, gauge
from agent.api.status.certificates import certificates_report
from agent.api.status.health import Health
from agent.api.status.report import early_purge_report
from agent.store.queries.status import StorageStatus
from agent.store.retention.delivery_times import RetentionWindow


def health_metrics(context: Context, health: Health) -> list[Metric]:
    """Return the metrics of the agent but those of captures and delivery."""
    families: list[Metric] = [
        ready_metric(is_ready=health.error is None),
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
    if files := context.identity.certificates:
        families.append(_certificate_metric(files, context.now().wall_us))
    if (store := health.store) is None:
        return families
    kept = RetentionWindow(context.identity.delivered_days, context.now().wall_us)
    return [*families, *store_metrics(store, kept)]


def _certificate_metric(files: Sequence[Path], now_us: int) -> Metric:
    words = "Days until a certificate that the agent presents expires"
    family = GaugeMetricFamily("loyalty_agent_certificate_days", words, labels=("file",))
    for found in certificates_report(files, now_us):
        if (days := found["daysLeft"]) is not None:
            family.add_metric((found["file"],), days)
    return family


def ready_metric(*, is_ready: bool) -> Metric:
    """Return the metric that says whether captures can be recorded."""
    return gauge("ready", "1 if captures can be recorded", is_ready)


def store_metrics(store: StorageStatus, kept: RetentionWindow) -> list[Metric]:
    """Return the metrics of the database, which are known without a running agent as well."""
    is_purged_early = early_purge_report(store, kept) is not None
    oldest_us = store.oldest_waiting_at_us
    age_seconds = 0.0 if oldest_us is None else (kept.now_us - oldest_us) / 1e6
    return [
        gauge("last_sequence", "Last sequence number of the epoch", store.current.last_sequence),
        gauge("waiting_events", "Events not settled by head office yet", store.waiting),
        gauge("oldest_waiting_seconds", "Age of the oldest such event; 0 if none", age_seconds),
        gauge("dead_letters", "Events that head office rejected", store.dead_letters),
        gauge("stuck_events", "Waiting events that failed often, each by itself", store.stuck),
        gauge(
            "lost_captures",
            "Captures acknowledged to tills that are lost, until head office accepts the loss",
            sum(lost.count for lost in store.lost if lost.is_alarm),
        ),
        gauge("database_bytes", "Size of the database and its WAL", store.database_bytes),
        gauge("free_bytes", "Free space on the disk of the database", store.free_bytes),
        gauge("databases_set_aside", "Quarantined damaged databases", len(store.quarantined)),
        gauge("salvage_pending", "Quarantined databases not read yet", store.salvage.pending),
        counter("salvaged_captures", "Captures fed in from them", store.salvage.salvaged),
        counter("unreadable_captures", "Captures lost in them", store.salvage.unreadable),
        gauge("damaged_rows", "Damaged rows of the database, repaired", store.damaged_rows),
        gauge("migration_copies", "Copies made before a migration", len(store.copies)),
        gauge(
            "purged_early",
            "1 if delivered captures go ahead of their retention for lack of room",
            is_purged_early,
        ),
    ]
