"""Clients of central: the protocols `batch` and `replay` over one HTTP connection pool.

Layers: a `Line` sends one HTTP request and returns a response or a failure; a `Caller` adds
credentials and handles the status codes common to all services; the transports implement the
protocols.
"""
