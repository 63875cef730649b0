"""Exports of undelivered events."""
