"""Tests of the agent, in the same folders as its code."""
