"""Tests of the store's damage recovery."""
