"""Tests of the agent's store."""
