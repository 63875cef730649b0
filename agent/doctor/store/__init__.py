"""Checks of the database and of what it tells."""
