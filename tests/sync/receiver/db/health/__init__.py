"""Tests of readiness, and of the words for an outage."""
