"""Tests of the command-line frame that both programs share."""
