"""Completeness audit: the numbers that are missing at head office, and how epochs ended."""
