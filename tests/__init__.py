"""Tests and their shared tools: scripted head office, till simulator, load and crash rigs."""
