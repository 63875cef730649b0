"""Checks of the database and its content."""
