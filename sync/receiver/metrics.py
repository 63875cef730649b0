"""What Prometheus is told of this process; of the fleet, `/v1/stores` tells."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from sync.receiver.accept import Taken


class Metrics:
    """The receiver's metrics in a registry of their own. No label ever holds a caller's words."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        info = Gauge("loyalty_hq_info", "This receiver", ["version"], registry=self._registry)
        info.labels(version).set(1)
        self._events = self._counter(
            "events", "Events taken, repeats left out, and those refused", ["outcome"]
        )
        self._batches = self._counter("batches", "Batches taken", [])
        self._gaps = self._counter("gaps", "Gaps noted", [])
        self._heartbeats = self._counter("heartbeats", "Heartbeats heard", [])
        self._problems = self._counter("problems", "Requests answered with an error", ["code"])

    def taken(self, taken: Taken) -> None:
        """Count a batch that is committed."""
        self._batches.inc()
        self._events.labels("taken").inc(len(taken.sessions) + len(taken.answers))
        self._events.labels("refused").inc(len(taken.refused))
        self._events.labels("altered").inc(len(taken.altered))
        self._gaps.inc(len(taken.gaps_noted))

    def heard(self) -> None:
        """Count a heartbeat that is committed."""
        self._heartbeats.inc()

    def refused(self, code: str) -> None:
        """Count a request answered with the error `code`."""
        self._problems.labels(code).inc()

    def render(self) -> bytes:
        """Write all metrics in the text format 0.0.4."""
        return generate_latest(self._registry)

    def _counter(self, name: str, documentation: str, labels: list[str]) -> Counter:
        return Counter(f"loyalty_hq_{name}", documentation, labels, registry=self._registry)
