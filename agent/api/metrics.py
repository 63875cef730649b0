"""Prometheus metrics: counters updated as requests pass, gauges read at each scrape."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.facts import Capture, EmailAnswered, Recorded, SessionStarted
from sync.runtime.logging import dropped_lines

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_KINDS: dict[type[Capture], str] = {SessionStarted: "session", EmailAnswered: "email"}
_GROUP = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The agent's metrics in their own registry. No label contains text from a till."""

    def __init__(self, version: str) -> None:
        self._registry = CollectorRegistry()
        # Plain integers: only the event loop counts captures, and the lock of a prometheus
        # `Counter` would be a measurable part of the cost of a capture.
        self._captures = {(kind, repeated): 0 for kind in _KINDS for repeated in (False, True)}
        self._problems = Counter(
            "loyalty_agent_problems",
            "Requests answered with an error",
            ["code"],
            registry=self._registry,
        )
        self._commit_seconds = Histogram(
            "loyalty_agent_commit_seconds",
            "Time to record a group of captures, fsync included",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._group_captures = Histogram(
            "loyalty_agent_group_captures",
            "Captures that shared a transaction and an fsync",
            buckets=_GROUP,
            registry=self._registry,
        )
        info = GaugeMetricFamily("loyalty_agent_info", "This agent", labels=["version"])
        info.add_metric([version], 1)
        self._info = info

    def count_capture(self, capture: Capture, recorded: Recorded) -> None:
        """Count a capture acknowledged to a till."""
        self._captures[type(capture), recorded.repeated] += 1

    def count_error(self, code: str) -> None:
        """Count a request answered with the error `code`."""
        self._problems.labels(code).inc()

    def committed(self, captures: int, seconds: float) -> None:
        """Record the size and duration of a commit; called in the writer thread."""
        self._commit_seconds.observe(seconds)
        self._group_captures.observe(captures)

    def render(self, families: Iterable[Metric]) -> bytes:
        """Return all metrics and these `families` in text format 0.0.4."""
        return generate_latest(self._registry) + render(
            [self._info, self._counted(), _dropped_lines(), *families]
        )

    def _counted(self) -> CounterMetricFamily:
        family = CounterMetricFamily(
            "loyalty_agent_captures",
            "Captures acknowledged to tills; repeated: recorded by an earlier request",
            labels=["type", "outcome"],
        )
        for (kind, repeated), count in self._captures.items():
            family.add_metric([_KINDS[kind], "repeated" if repeated else "recorded"], count)
        return family


def _dropped_lines() -> CounterMetricFamily:
    words = "Lines of the log that were dropped because nobody read it"
    return CounterMetricFamily("loyalty_agent_log_lines_dropped", words, value=dropped_lines())


class _Snapshot(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Iterable[Metric]) -> bytes:
    """Return these families in text format 0.0.4."""
    return generate_latest(_Snapshot(list(families)))


def gauge(name: str, documentation: str, value: float) -> Metric:
    """Return a gauge of the agent; `name` without prefix."""
    return GaugeMetricFamily(f"loyalty_agent_{name}", documentation, value=float(value))


def counter(name: str, documentation: str, value: float) -> Metric:
    """Return a counter since the start of the agent; `name` without prefix and `_total`."""
    return CounterMetricFamily(f"loyalty_agent_{name}", documentation, value=float(value))
