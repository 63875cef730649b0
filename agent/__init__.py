"""The loyalty agent: serves the loyalty API on a POS machine from a local database."""
