"""Tests of the runtime of both programs."""
