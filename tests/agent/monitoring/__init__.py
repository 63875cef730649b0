"""Tests of the verdict for monitoring systems and of an agent that does not run."""
