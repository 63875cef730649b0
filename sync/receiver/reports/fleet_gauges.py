"""Prometheus gauges of the fleet, over the whole database: any receiver exports the same values."""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from sync.receiver.reports.fleet_figures import MOST_COUNTED, FleetFigures

_OF_ALL = "Whole database (the same from each receiver: max, never sum). "


class FleetGauges:
    """The figures as gauges. Labels are condition names only, never stores."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._at = self._gauge("as_of_seconds", "When these figures were read, in Unix time")
        self._stores = self._gauge("stores", "Stores enrolled or heard of")
        self._holding = self._gauge(
            "stores_in_condition",
            "Stores of which it is true, as on the fleet page; several can be true of one",
            "condition",
        )
        self._oldest = self._gauge(
            "oldest_undelivered_seconds", "Age of the oldest event that waits in a store"
        )
        self._waiting = self._gauge("waiting_events", "Events that wait, as heartbeats tell")
        self._dead_letters = self._gauge(
            "dead_letters", "Events that wait refused in stores for somebody, as heartbeats tell"
        )
        self._rejected = self._gauge(
            "rejected_events", f"Events that stand rejected here, counted up to {MOST_COUNTED}"
        )
        self._gap_events = self._gauge(
            "gap_events", f"Numbers missing for good, in whole or in part, in {MOST_COUNTED} gaps"
        )

    def render(self, figures: FleetFigures) -> bytes:
        """Return the figures in Prometheus text format."""
        self._at.set(figures.at.timestamp())
        self._stores.set(figures.stores)
        for condition, stores in figures.holding.items():
            self._holding.labels(condition.value).set(stores)
        self._oldest.set(figures.oldest_seconds)
        self._waiting.set(figures.waiting)
        self._dead_letters.set(figures.dead_letters)
        self._rejected.set(figures.rejected)
        self._gap_events.set(figures.gap_events)
        return generate_latest(self._registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(
            f"loyalty_hq_fleet_{name}", _OF_ALL + documentation, labels, registry=self._registry
        )
