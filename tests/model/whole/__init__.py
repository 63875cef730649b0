"""Model of the whole: tills, agents and head office in one process, under random histories.

Real: both programs' stores on SQLite files (head office also on PostgreSQL), the rules for
requests, the delivery pass, the transport, the heartbeats, retention, `forget`, the audit of
completeness. Not real: sockets, threads, clocks and fsync.
"""
