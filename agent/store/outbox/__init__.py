"""The outbox: events to deliver, and the result of each delivery."""
