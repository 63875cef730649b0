"""Simple models and fakes that the real implementations are compared with."""
