"""Tests of salvage: pages read without SQLite, captures fed in, nothing twice."""
