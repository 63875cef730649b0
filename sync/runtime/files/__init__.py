"""Files that both programs write: whole or not at all, and private to their owner."""
