"""Simulated tills: their HTTP requests, and crowds of them for benchmarks and crash tests."""
