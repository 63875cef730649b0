"""Bundles that were carried to head office by hand: its key pairs, and the import."""
