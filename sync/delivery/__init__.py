"""Carries events from an outbox to central: one pass, when to run it, how fast."""
