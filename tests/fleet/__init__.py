"""Simulates a whole chain after an outage of head office, in virtual time, seeded.

Real: the rules for sending (`sync.delivery.delivery_loop`, `sync.delivery.backoff`, `sync.delivery.throttle`), the requests (`sync.delivery.push`,
the `batch` transport, zstd and JSON), the classification of answers and network errors, head
office's admission and Retry-After (`sync.receiver.admission.rate_limit`, `places`), and its acceptance rules
(`sync.receiver.ingest.accept`, `reading`).

Simulated: the clock, the network (tens of milliseconds each way; connections are refused, or
packets are lost and retransmitted as by TCP), the outboxes (numbers in memory), the ledger (in
memory, milliseconds a commit), and heartbeats, which are counted but not sent.
"""
