"""Head office as it is: the receiver on a real database, and agents that are just messages."""
