"""Ingest on both databases."""
