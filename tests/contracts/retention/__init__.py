"""Retention and redaction on both databases."""
