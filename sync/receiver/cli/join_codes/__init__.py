"""Issuing join codes: one, or those of a list of machines."""
