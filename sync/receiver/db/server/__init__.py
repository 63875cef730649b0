"""Connections to PostgreSQL: several hosts, failover, and a pooler between."""
