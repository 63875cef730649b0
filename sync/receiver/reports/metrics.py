"""Prometheus metrics of this process, with those of the fleet (`fleet_gauges.py`) appended."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sync.receiver.ingest.accept import AcceptedBatch
from sync.receiver.reports.fleet_figures import FleetFigures
from sync.receiver.reports.fleet_gauges import FleetGauges

_OF_ONE = "This process. "
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_OUTCOMES = ("taken", "repeated", "refused", "altered")


class Metrics:
    """The receiver's metrics, in a registry of their own. Labels never contain request data.

    `now_seconds` is a monotonic clock.
    """

    def __init__(self, version: str, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._registry = CollectorRegistry()
        self._fleet = FleetGauges()
        info = self._gauge("info", "This receiver", "version")
        info.labels(version).set(1)
        self._database_up = self._gauge("database_up", "1: the database answered; 0: it did not")
        self._events = self._counter(
            "events", "Events by what became of them; repeated: here before", "outcome"
        )
        for outcome in _OUTCOMES:
            # Create every label at zero: Prometheus sees no increase when a series first appears.
            self._events.labels(outcome)
        self._batches = self._counter("batches", "Batches taken")
        self._batch_seconds = Histogram(
            "loyalty_hq_batch_seconds",
            f"{_OF_ONE}Time in hand of a batch that was taken, from its place to its answer",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._gaps = self._counter("gaps", "Gaps noted")
        self._heartbeats = self._counter("heartbeats", "Heartbeats heard")
        self._requests = self._counter(
            "requests", "Requests by address and HTTP status", "route", "status"
        )
        self._problems = self._counter("problems", "Requests answered with an error", "code")

    def watch_bodies(self, reserved_bytes: Callable[[], float]) -> None:
        """Export the memory held by request bodies; `reserved_bytes` returns it."""
        bodies = self._gauge("body_bytes", "Bytes held for requests in hand, over all of them")
        bodies.set_function(reserved_bytes)

    def begin(self) -> float:
        """Return the start time of a batch, for `taken`."""
        return self._now_seconds()

    def taken(self, taken: AcceptedBatch, events: int, begun: float) -> None:
        """Count a committed batch of `events` events."""
        new = len(taken.sessions) + len(taken.answers)
        refused, altered = len(taken.rejected), len(taken.altered)
        self._batches.inc()
        self._batch_seconds.observe(self._now_seconds() - begun)
        self._events.labels("taken").inc(new)
        self._events.labels("refused").inc(refused)
        self._events.labels("altered").inc(altered)
        self._events.labels("repeated").inc(events - new - refused - altered)
        self._gaps.inc(len(taken.gaps_added))

    def heard(self) -> None:
        """Count a committed heartbeat."""
        self._heartbeats.inc()

    def refused(self, code: str) -> None:
        """Count an error response by its code."""
        self._problems.labels(code).inc()

    def answered(self, route: str, status: int) -> None:
        """Count a request. `route` is the route pattern, never the requested path."""
        self._requests.labels(route, str(status)).inc()

    def render(self, figures: FleetFigures | None) -> bytes:
        """Return all metrics in Prometheus text format; without `figures`, only this process's."""
        self._database_up.set(figures is not None)
        of_fleet = b"" if figures is None else self._fleet.render(figures)
        return generate_latest(self._registry) + of_fleet

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"loyalty_hq_{name}", _OF_ONE + documentation, labels, registry=self._registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(
            f"loyalty_hq_{name}", _OF_ONE + documentation, labels, registry=self._registry
        )
