"""Simulates a whole chain after an outage of head office, in virtual time, seeded.

Real: the rules for sending (`sync.relay`, `sync.retry`, `sync.pace`), the requests (`sync.push`,
the `batch` transport, zstd and JSON), the classification of answers and network errors, head
office's admission and Retry-After (`sync.receiver.intake`, `places`), and its acceptance rules
(`sync.receiver.accept`, `reading`).

Simulated: the clock, the network (tens of milliseconds each way; connections are refused, or
packets are lost and retransmitted as by TCP), the outboxes (numbers in memory), the ledger (in
memory, milliseconds a commit), and heartbeats, which are counted but not sent.
"""
