"""Exports of what is undelivered."""
