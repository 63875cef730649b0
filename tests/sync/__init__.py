"""Tests of what carries captures to central."""
