"""Tests of admission: limits, memory budget, receiving and decompressing bodies."""
