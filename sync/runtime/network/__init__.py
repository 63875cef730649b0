"""Addresses and sockets of this machine: both loopback addresses, the table of sockets."""
