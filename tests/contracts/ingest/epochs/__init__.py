"""Tests of the epochs of a till, on both databases."""
