"""Tests of the settings of the agent."""
