"""Joins this machine to head office with a join code: token, settings, authority, restart.

Each step is durable before the next one, and the token is on the disk before head office registers
it: after an interruption the same command continues.
"""
