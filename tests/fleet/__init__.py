"""A whole chain after an outage of head office, in virtual time and deterministic by its seed.

Real are the rules: when an agent tries (`sync.delivery.delivery_loop`, `sync.delivery.backoff`, `sync.delivery.throttle`), what it sends
(`sync.delivery.push`, the transport of `batch`, zstd and JSON), how it understands each answer and each
trouble of the line, what head office lets in and when it asks the others to come again
(`sync.receiver.admission.rate_limit`, `places`), and what it accepts (`sync.receiver.ingest.accept`, `reading`).

Simulated are the clock, the network (tens of milliseconds each way; connections that are
refused, or vanish and are sent again as TCP does), the stores' outboxes (numbers in memory), the
ledger (in memory, milliseconds a commit), and heartbeats, which are counted and not sent.
"""
