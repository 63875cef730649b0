"""Faults of disks and connections."""
