"""Prometheus metrics: counters of this process, and gauges of the fleet from the database."""

import math
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.reports.fleet_figures import MAX_COUNTED, FleetFigures
from sync.runtime.logging import dropped_lines
from sync.runtime.network.own_certificate import days_until, read_end

_NAMESPACE = "loyalty_hq"
_PROCESS = "This process. "
_FLEET = "Whole database (the same from each receiver: max, never sum). "
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Name, figure and help of each.
_FLEET_GAUGES = {
    "as_of_seconds": ("at_seconds", "Unix time at which these figures were read"),
    "stores": ("stores", "Stores that are enrolled or ever sent anything"),
    "oldest_undelivered_seconds": (
        "oldest_seconds",
        "Age of the oldest undelivered event of any store",
    ),
    "waiting_events": ("backlog", "Undelivered events in all stores, from their heartbeats"),
    "dead_letters": ("dead_letters", "Dead letters in all stores, from their heartbeats"),
    "unconfirmed_epochs": (
        "unconfirmed_epochs",
        "Epochs that ended without the last word of their machine",
    ),
    "rejected_events": (
        "rejected",
        f"Events in the table of rejections, counted up to {MAX_COUNTED}",
    ),
    "gap_events": (
        "gap_events",
        f"Events lost permanently, in whole or in part, in {MAX_COUNTED} gaps",
    ),
}
_OUTCOMES = ("taken", "repeated", "refused", "altered")


class ReceiverMetrics:
    """The receiver's metrics, in registries of their own. Labels never contain request data.

    `requests` is labelled with the route pattern, never the requested path. `now_seconds` is a
    monotonic clock.
    """

    def __init__(self, version: str, now_seconds: Callable[[], float]) -> None:
        self.now_seconds = now_seconds
        self._registry = CollectorRegistry()
        self._gauge = partial(Gauge, namespace=_NAMESPACE, registry=self._registry)
        counter = partial(Counter, namespace=_NAMESPACE, registry=self._registry)
        self._gauge("info", f"{_PROCESS}This receiver", ("version",)).labels(version).set(1)
        up = f"{_PROCESS}1 if the database answered this scrape, else 0"
        self._database_up = self._gauge("database_up", up)
        by_outcome = f"{_PROCESS}Events by outcome; repeated: duplicates"
        self._events = counter("events", by_outcome, ("outcome",))
        for outcome in _OUTCOMES:
            # Create every label at zero: Prometheus sees no increase when a series first appears.
            self._events.labels(outcome)
        self._batches = counter("batches", f"{_PROCESS}Batches accepted")
        self._batch_seconds = Histogram(
            "batch_seconds",
            f"{_PROCESS}Service time of accepted batches, without waiting for admission",
            namespace=_NAMESPACE,
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._gaps = counter("gaps", f"{_PROCESS}Gaps recorded")
        self.heartbeats = counter("heartbeats", f"{_PROCESS}Heartbeats accepted")
        by_route = f"{_PROCESS}Requests by route and HTTP status"
        self.requests = counter("requests", by_route, ("route", "status"))
        self.errors = counter("problems", f"{_PROCESS}Error responses by code", ("code",))
        self._registry.register(_DroppedLines())

    def watch_bodies(self, reserved_bytes: Callable[[], float]) -> None:
        """Export the memory held by request bodies; `reserved_bytes` returns it."""
        bodies = f"{_PROCESS}Memory reserved for the bodies of all open requests"
        self._gauge("body_bytes", bodies).set_function(reserved_bytes)

    def watch_certificate(self, certificate: Path, now: Callable[[], datetime]) -> None:
        """Export the days until the certificate that this process presents expires."""

        def days_left() -> float:
            end = read_end(certificate)
            return math.nan if end is None else days_until(end, now())

        words = f"{_PROCESS}Days until its certificate expires; NaN if it cannot be read"
        self._gauge("certificate_days", words).set_function(days_left)

    def count_batch(self, accepted: AcceptedBatch, events: int, started: float) -> None:
        """Count a committed batch of `events` events; `started` is in `now_seconds`."""
        new = len(accepted.sessions) + len(accepted.answers)
        refused, altered = len(accepted.rejected), len(accepted.altered)
        self._batches.inc()
        self._batch_seconds.observe(self.now_seconds() - started)
        self._events.labels("taken").inc(new)
        self._events.labels("refused").inc(refused)
        self._events.labels("altered").inc(altered)
        self._events.labels("repeated").inc(events - new - refused - altered)
        self._gaps.inc(len(accepted.gaps_added))

    def render(self, figures: FleetFigures | None) -> bytes:
        """Return all metrics in Prometheus text format; without `figures`, only this process's."""
        self._database_up.set(figures is not None)
        fleet = b"" if figures is None else _fleet_metrics(figures)
        return generate_latest(self._registry) + fleet


class _DroppedLines(Collector):
    def collect(self) -> Iterable[Metric]:
        words = f"{_PROCESS}Lines of the log that were dropped because nobody read it"
        yield CounterMetricFamily(f"{_NAMESPACE}_log_lines_dropped", words, value=dropped_lines())


def _fleet_metrics(figures: FleetFigures) -> bytes:
    """Return the fleet's figures as gauges. Labels are condition names only, never stores."""
    registry = CollectorRegistry()

    def gauge(name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"loyalty_hq_fleet_{name}", _FLEET + documentation, labels, registry=registry)

    for name, (figure, words) in _FLEET_GAUGES.items():
        gauge(name, words).set(getattr(figures, figure))
    several = "Stores in a condition, as on the fleet page; a store can be in several"
    in_condition = gauge("stores_in_condition", several, "condition")
    for condition, stores in figures.stores_in.items():
        in_condition.labels(condition.value).set(stores)
    return generate_latest(registry)
