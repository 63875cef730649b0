"""Counts the answers of a crowd and checks them."""

from array import array

import msgspec

from tests.support.till.crowd import CaptureAnswer
from tests.support.till.requests import EMAIL_BODY_BYTES, Kind

MAX_KEPT_FAILURES = 3
"""Number of wrong answers kept verbatim; further ones are dropped."""


class Load(msgspec.Struct, frozen=True):
    """Measurements of a crowd; latencies per request, in milliseconds."""

    pairs: int
    pairs_with_warm_up: int
    requests: int
    seconds: float
    minimum_ms: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    session_body_bytes: int
    failures: list[str]


class Tally:
    """Counts answers; every answer that a till should not get is recorded in `failures`."""

    def __init__(self, *, receipts: bool = False) -> None:
        self.failures: list[str] = []
        self._receipts = receipts
        self._pairs_before = 0
        self._pairs = 0
        self.clear()

    def clear(self) -> None:
        """Start the measured time; keep `failures`."""
        self._latencies = array("d")
        self._pairs_before += self._pairs
        self._pairs = 0
        self._session_body_bytes = 0

    def acknowledged(self, answer: CaptureAnswer) -> None:
        """Count a 200."""
        self._latencies.append(answer.latency_seconds)
        if answer.kind is Kind.SESSION:
            self._session_body_bytes = answer.body_bytes
        else:
            self._pairs += 1
            if answer.body_bytes != EMAIL_BODY_BYTES:
                self._record_failure(f"e-mail body is not {EMAIL_BODY_BYTES} bytes: {answer}")
        if self._receipts and answer.receipt is None:
            self._record_failure(f"no Loyalty-Receipt: {answer}")

    def refused(self, answer: CaptureAnswer) -> None:
        """Record an answer other than 200: always an error."""
        self._record_failure(f"refused: {answer}")

    def load(self, seconds: float, cpu_seconds: float) -> Load:
        """Return the measurements."""
        ordered = sorted(self._latencies)
        return Load(
            pairs=self._pairs,
            pairs_with_warm_up=self._pairs_before + self._pairs,
            requests=len(ordered),
            seconds=seconds,
            minimum_ms=percentile(ordered, 0) * 1000,
            p50_ms=percentile(ordered, 50) * 1000,
            p99_ms=percentile(ordered, 99) * 1000,
            cpu_seconds=cpu_seconds,
            session_body_bytes=self._session_body_bytes,
            failures=list(self.failures),
        )

    def _record_failure(self, what: str) -> None:
        if len(self.failures) < MAX_KEPT_FAILURES:
            self.failures.append(what)


def percentile(ordered: list[float], percent: int) -> float:
    """Return the given percentile of sorted values; 0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
