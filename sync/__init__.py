"""Delivery of captures to central, and the receiver at head office."""
