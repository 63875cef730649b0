"""Delivery put together for one POS machine: uplink, heartbeat, program terms, periodic chores."""
