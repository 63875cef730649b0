"""Purges records that are older than the retention time."""
