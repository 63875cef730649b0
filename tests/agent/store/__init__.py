"""Tests of the store, on real files: what was recorded is there, whatever was done to the disk."""
