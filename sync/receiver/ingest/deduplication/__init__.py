"""Finds stored events that equal a new one."""
