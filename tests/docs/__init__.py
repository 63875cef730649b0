"""The documents: commands, links and paths."""
