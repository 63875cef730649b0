"""The agent: the loyalty API on a POS machine, served from a local database."""
