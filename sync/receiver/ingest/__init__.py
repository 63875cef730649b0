"""Ingest: parse a batch, place it, look up the stored state, accept its events, write them."""
