"""Head office: stores the captures of all stores in one ledger and reports on it."""
