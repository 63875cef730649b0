"""The real receiver on a real database, and simulated agents that send it messages."""
