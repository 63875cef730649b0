"""Imports of bundles, on both databases."""
