"""Tests of ingest: parsing, the ledger's rules, rows."""
