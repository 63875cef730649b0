"""Read models of the ledger for pages, commands, API and metrics."""
