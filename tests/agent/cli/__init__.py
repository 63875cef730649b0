"""Tests of the `loyalty-agent` commands."""
