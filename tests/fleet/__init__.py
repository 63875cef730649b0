"""Simulates a whole chain after an outage of head office, in virtual time, seeded.

Real: the rules for sending (`delivery_loop`, `backoff`, `throttle`), the requests (`push`,
the `batch` transport, zstd and JSON), the classification of answers and network errors, head
office's admission and Retry-After (`rate_limit`, `concurrency`), and its acceptance rules
(`accept`, `parse`).

Simulated: the clock, the network (tens of milliseconds each way; connections are refused, or
packets are lost and retransmitted as by TCP), the outboxes (numbers in memory), the ledger (in
memory, milliseconds a commit), and heartbeats, which are counted but not sent.
"""
