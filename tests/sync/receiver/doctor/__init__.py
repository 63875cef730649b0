"""Tests of the diagnosis of head office."""
