"""Tests of settings loading."""
