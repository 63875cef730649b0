"""Tests of the systemd integration on real sockets."""
