"""Exports ledger tables to CSV, JSON lines and Parquet files."""
