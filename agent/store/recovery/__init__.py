"""Damaged databases: integrity check and quarantine."""
