"""Tests of the till API on real sockets and real files."""
