"""The times of events."""
