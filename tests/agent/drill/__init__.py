"""Tests of the drill: command, display, verdict."""
