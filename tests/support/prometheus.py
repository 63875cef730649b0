"""Parses Prometheus' text format, as returned by `/metrics`."""

from collections.abc import Mapping
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families

Samples: TypeAlias = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def parse_samples(body: bytes) -> Samples:
    """Return the value of each sample, keyed by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
