"""Delivery put together for one POS machine: uplink, heartbeat, program terms, scheduled jobs."""
