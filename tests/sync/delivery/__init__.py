"""Tests of sync.delivery."""
