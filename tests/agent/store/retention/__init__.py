"""Tests of the store's retention."""
