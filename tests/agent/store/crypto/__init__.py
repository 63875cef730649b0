"""Tests of the store's encryption."""
