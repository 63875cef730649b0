"""Benchmarks of both programs, with reference servers in the same run: `python -m tests.bench`."""
