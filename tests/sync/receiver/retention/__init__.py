"""Tests of the purge."""
