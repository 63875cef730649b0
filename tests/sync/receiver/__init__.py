"""Tests of the receiver's rules: what head office makes of what agents send."""
