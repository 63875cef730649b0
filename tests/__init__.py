"""Tests, and the tools they share: till simulator, benches, crash rigs."""
