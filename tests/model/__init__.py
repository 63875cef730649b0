"""Model-based tests: random histories of the delivery chain against a simple model."""
