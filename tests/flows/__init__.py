"""End-to-end tests: tills, agent, network faults, head office."""
