"""Tests of the checks of the database."""
