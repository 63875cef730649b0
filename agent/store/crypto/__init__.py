"""Encryption of e-mail addresses and of bodies that may hold one."""
