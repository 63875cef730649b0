"""Head office: ingests the captures of all stores into one ledger and reports on it."""
