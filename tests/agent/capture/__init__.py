"""Tests of the capture rules, mostly property-based."""
