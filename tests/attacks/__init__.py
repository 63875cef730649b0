"""Attacks on both running programs, byte for byte over real sockets."""
