"""Captures and their events: decided and written in one transaction."""
