"""Reference servers for the benchmarks."""
