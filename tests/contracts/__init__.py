"""Contract suites: each runs against every implementation."""
