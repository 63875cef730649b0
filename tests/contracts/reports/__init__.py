"""Reports on both databases."""
