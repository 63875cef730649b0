"""Clients of central: the protocols `batch` and `replay` over one HTTP connection pool.

`HttpClient` sends one request; `CentralClient` adds credentials and handles the status codes common
to all services; the transports implement the protocols.
"""
