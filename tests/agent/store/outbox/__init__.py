"""Tests of the store's outbox."""
