"""Bundle: undelivered events in a file, sealed for head office and carried there by hand.

file: magic, key id, sealed head, chunks.
head: HPKE (RFC 9180) for head office's public key: content key, store, till, epochs, proof.
chunks: AES-256-GCM with the content key, numbered, the last one marked.
content: a zstd frame of records: batches as the protocol `batch` sends them, then an end record.
"""
