"""Tests of the store's database layer."""
