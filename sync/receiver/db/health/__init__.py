"""Whether a batch could be written, and why a database cannot be used."""
