"""Verdict, plugin line and metrics for monitoring systems, also while the agent is down."""
