"""Erases and purges delivered data, in small steps beside the tills."""
