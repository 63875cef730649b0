"""Erases an e-mail address from the ledger."""
