"""Queries of the store for status, metrics, lookups and heartbeats."""
