"""Tests of the `loyalty-hq` commands."""
