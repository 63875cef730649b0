"""A capture's whole way: tills, agent, the line and what goes wrong on it, head office."""
