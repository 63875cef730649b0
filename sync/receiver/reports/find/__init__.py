"""Finds events by what a person holds: a receipt, an id or number, a store and a time."""
