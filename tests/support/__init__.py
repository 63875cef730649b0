"""Tools that tests share: simulated tills, head offices, agents, faults and models."""
