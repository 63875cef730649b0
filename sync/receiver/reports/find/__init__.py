"""Finds events by an id or number, a receipt, a store and time, or an address."""
