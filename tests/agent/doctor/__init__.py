"""The doctor: what it sees on a machine, and what it says of it."""
