"""Tests of the machinery of a configuration."""
