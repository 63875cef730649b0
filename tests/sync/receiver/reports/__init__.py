"""Tests of the read models and metrics."""
