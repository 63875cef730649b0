"""Tests of duplicates and of the lookup that finds them, on both databases."""
