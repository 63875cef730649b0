"""`loyalty-agent export`."""
