"""Tests of the store's journal."""
