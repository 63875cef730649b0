"""Random histories of several parts together, beside a model of a few lines."""
