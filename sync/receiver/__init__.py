"""Head office: takes the captures of all stores into one ledger and can say what it has."""
