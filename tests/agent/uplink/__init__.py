"""Tests of delivery as the agent composes it, and of the program terms it learns."""
