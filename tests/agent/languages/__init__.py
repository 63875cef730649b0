"""Tests of status, health and metrics."""
