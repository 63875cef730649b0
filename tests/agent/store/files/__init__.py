"""Tests of the store's files beside the database."""
