"""Repairs rows of which all others depend: cursor, epochs and numbers, at each opening."""
