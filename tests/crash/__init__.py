"""Rigs that kill, starve and stop a real agent under load, and look what became of its word."""
