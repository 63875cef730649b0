"""Tests of the two databases: connections, locks, schema, statements."""
